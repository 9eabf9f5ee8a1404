// @ts-check
/** Preact and its templates: everything that draws imports from here. */

import { Component, createElement, Fragment, render } from "../vendor/preact/preact.module.js";
import {
  useCallback,
  useEffect,
  useErrorBoundary,
  useId,
  useLayoutEffect,
  useRef,
  useState,
} from "../vendor/preact/hooks.module.js";
import htm from "../vendor/htm/htm.module.js";

/** Elements from a template; text in it becomes text nodes, never markup. */
const html = htm.bind(createElement);

export {
  Component,
  Fragment,
  html,
  render,
  useCallback,
  useEffect,
  useErrorBoundary,
  useId,
  useLayoutEffect,
  useRef,
  useState,
};

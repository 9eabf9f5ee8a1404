import js from "@eslint/js";
import globals from "globals";

export default [
  { ignores: ["**/vendor/**"] },
  js.configs.recommended,
  {
    languageOptions: { globals: globals.browser, sourceType: "module" },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      eqeqeq: "error",
      "max-lines": ["error", 300],
      "no-control-regex": "off", // the control characters are what is to be shown escaped
      "no-eval": "error",
      "no-implied-eval": "error",
      "no-new-func": "error",
      "no-var": "error",
      "prefer-const": "error",
      "no-restricted-properties": [
        "error",
        { property: "innerHTML", message: "Data is shown as text." },
        { property: "outerHTML", message: "Data is shown as text." },
        { property: "insertAdjacentHTML", message: "Data is shown as text." },
      ],
      "no-restricted-syntax": [
        "error",
        { selector: "TemplateElement[value.raw=/dangerouslySetInnerHTML/]", message: "Data is shown as text." },
      ],
    },
  },
];

// Beside Swagger UI: a stream has no end, so it is not shown by "Execute" but by a command.
const StreamHint = () => ({
  wrapComponents: {
    execute: (Original, { React }) => (props) => {
      if (props.path !== "/changes/stream") return React.createElement(Original, props);
      const url = new URL("changes/stream?cursor=latest", location.href).href;
      const command = `curl -N -H "Authorization: Bearer $TOKEN" "${url}"`;
      return React.createElement(
        "div",
        { className: "stream-hint", style: { textAlign: "left" } },
        React.createElement("p", null, "The stream does not end, so this page cannot show it. In a terminal each event appears as it is recorded:"),
        React.createElement("pre", { style: { overflowX: "auto", padding: "8px 0" } }, command),
      );
    },
  },
});

// Earlier releases kept the token here.
try {
  localStorage.removeItem("authorized");
} catch {
  // The browser keeps nothing for this page.
}

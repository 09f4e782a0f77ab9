/** A body as people read it: JSON with its lines set out, anything else as it stands. Numbers keep every digit. */
export function readable(body: string): string {
  const begin = body.trimStart()[0];
  if (begin !== "{" && begin !== "[") return body;
  try {
    JSON.parse(body);
  } catch {
    return body;
  }
  // Set out by hand: parsing and writing again would round long numbers.
  let depth = 0;
  let isText = false;
  let set = "";
  for (let place = 0; place < body.length; place++) {
    const char = body.charAt(place);
    if (isText) {
      set += char;
      if (char === "\\") set += body.charAt(++place);
      else if (char === '"') isText = false;
    } else if (char === '"') {
      isText = true;
      set += char;
    } else if (char === "{" || char === "[") {
      const rest = /^\s*[}\]]/.exec(body.slice(place + 1));
      if (rest) {
        set += char + rest[0].trim();
        place += rest[0].length;
      } else set += `${char}\n${"  ".repeat(++depth)}`;
    } else if (char === "}" || char === "]") set += `\n${"  ".repeat(--depth)}${char}`;
    else if (char === ",") set += `,\n${"  ".repeat(depth)}`;
    else if (char === ":") set += ": ";
    else if (!/\s/.test(char)) set += char;
  }
  return set;
}

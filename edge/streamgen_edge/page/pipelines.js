// Pipelines as plain values: with the original beside what was painted, and without.

const NODE_KEYS = ["from", "every", "isolation", "python", "fallback", "timeout", "limits"];
const STAGE = "compare";
const LIVE_CHANGES = ["stages", "graph", "output"]; // the rest stays as it is

// A node as it may be written, in one form: `{stage, params, rest}`.
function read(entry) {
  if (typeof entry === "string") return { stage: entry, params: {}, rest: {} };
  const rest = Object.fromEntries(Object.entries(entry).filter(([key]) => NODE_KEYS.includes(key)));
  if ("stage" in entry) return { stage: entry.stage, params: entry.params ?? {}, rest };
  const stage = Object.keys(entry).find((key) => !NODE_KEYS.includes(key));
  return { stage, params: entry[stage] ?? {}, rest };
}

const write = ({ stage, params, rest }) => ({ [stage]: params, ...rest });

// The nodes by name, as the server names them, and whose picture leaves.
function graph(pipeline) {
  const nodes = new Map();
  if (pipeline.graph && Object.keys(pipeline.graph).length) {
    for (const [name, entry] of Object.entries(pipeline.graph)) nodes.set(name, read(entry));
    return { nodes, output: pipeline.output || unread(nodes) };
  }
  let last = "source";
  for (const entry of pipeline.stages ?? []) {
    const node = read(entry);
    const name = free(node.stage, nodes);
    nodes.set(name, { ...node, rest: { ...node.rest, from: last } });
    last = name;
  }
  return { nodes, output: last };
}

function free(name, nodes) {
  let number = 1;
  let found = name;
  while (nodes.has(found)) found = `${name}-${++number}`;
  return found;
}

const sources = (from) =>
  (typeof from === "object" && from && !("node" in from) ? Object.values(from) : [from]).map((one) =>
    String(one?.node ?? one).split(".")[0],
  );

function unread(nodes) {
  const used = new Set([...nodes.values()].flatMap(({ rest }) => sources(rest.from)));
  return [...nodes.keys()].find((name) => !used.has(name));
}

// What the user turned is kept: the server forgets it with the former pipeline.
function turn(nodes, turned) {
  for (const [name, values] of Object.entries(turned ?? {})) {
    const node = nodes.get(name);
    if (node) node.params = { ...node.params, ...values };
  }
}

function built(pipeline, nodes, output) {
  const rest = Object.entries(pipeline).filter(([key]) => !LIVE_CHANGES.includes(key));
  const written = [...nodes].map(([name, node]) => [name, write(node)]);
  return { ...Object.fromEntries(rest), graph: Object.fromEntries(written), output };
}

// The node that shows both, and where it is split; null where there is none.
export function comparing(pipeline, turned) {
  if (!pipeline) return null;
  for (const [name, { stage, params }] of graph(pipeline).nodes) {
    if (stage !== STAGE) continue;
    return { node: name, split: turned?.[name]?.split ?? params.split ?? 0.5 };
  }
  return null;
}

// Whether anything is painted that could be compared.
export const paints = (pipeline) => graph(pipeline).nodes.size > 0;

export function compared(pipeline, turned) {
  const { nodes, output } = graph(pipeline);
  turn(nodes, turned);
  const name = free(STAGE, nodes);
  const from = { picture: output, before: "source" };
  nodes.set(name, { stage: STAGE, params: { split: 0.5 }, rest: { from } });
  return built(pipeline, nodes, name);
}

export function uncompared(pipeline, turned) {
  const { nodes, output } = graph(pipeline);
  turn(nodes, turned);
  const found = [...nodes].find(([, { stage }]) => stage === STAGE);
  const [name, { rest }] = found;
  const before = sources(rest.from?.picture ?? rest.from)[0];
  nodes.delete(name);
  for (const node of nodes.values()) node.rest = renamed(node.rest, name, before);
  return built(pipeline, nodes, output === name ? before : output);
}

// The node keys of a reader of `name`, which reads `other` from now on.
function renamed(rest, name, other) {
  const change = (from) => {
    if (typeof from === "string") return from === name ? other : from;
    if (from && "node" in from) return { ...from, node: change(from.node) };
    const inputs = Object.entries(from ?? {}).map(([input, one]) => [input, change(one)]);
    return Object.fromEntries(inputs);
  };
  return rest.from === undefined ? rest : { ...rest, from: change(rest.from) };
}

// The numbers of the curves: packed, joined, smoothed and searched.
const MOST_POINTS = 1500;

const unpack = (text) => new Float32Array(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);

function joined(old, more) {
  const both = new Float32Array(old.length + more.length);
  both.set(old);
  both.set(more, old.length);
  return both;
}

// The series of a run with a part that the server sent: the whole of it, or what is new.
export function withPart(before, part) {
  const one = part.whole || !before ? { data: new Map() } : before;
  for (const [name, [x, y]] of Object.entries(part.data)) {
    const old = one.data.get(name),
      more = [unpack(x), unpack(y)];
    one.data.set(name, old ? [joined(old[0], more[0]), joined(old[1], more[1])] : more);
  }
  const longest = Math.max(0, ...[...one.data.values()].map(([x]) => x.length));
  return Object.assign(one, { epoch: longest > MOST_POINTS ? -1 : part.epoch, step: part.step }); // -1: thin it out again
}

// An exponential mean of the values that keeps `keepShare` (0..1) of the former mean at each step; its beginning is not
// pulled towards 0.
export function smoothed(values, keepShare) {
  if (!keepShare) return values;
  const found = new Float64Array(values.length);
  let mean = 0,
    weight = 0;
  for (let index = 0; index < values.length; index += 1) {
    mean = keepShare * mean + (1 - keepShare) * values[index];
    weight = keepShare * weight + (1 - keepShare);
    found[index] = mean / weight;
  }
  return found;
}

// The index of the value nearest to x in a rising list.
export function nearest(list, x) {
  let [low, high] = [0, list.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (list[middle] < x) low = middle;
    else high = middle;
  }
  return Math.abs(list[low] - x) <= Math.abs(list[high] - x) ? low : high;
}

export const short = (value) => {
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 1e5)) return value.toExponential(1);
  return String(Number(value.toPrecision(size >= 1000 ? 4 : 3)));
};

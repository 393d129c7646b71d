/**
 * Quick, Draw! strokes → the gray image that `fastsketch` makes of them, bit by bit.
 *
 * A port of `fastsketch/sources/strokes.py` and of what it uses of Pillow: wide lines and discs (Draw.c), and the mean
 * of the samples (Reduce.c). Both compute in 32-bit floats here and there, and round in several ways.
 *
 * @typedef {[ArrayLike<number>, ArrayLike<number>]} Stroke One movement of the pen: the x of its points, to the right,
 *   and as many y, down. More lists, such as the times in raw files, are ignored.
 */

const PAPER = 255;
const STROKE_MARGIN = 1 / 32;

/** Of lines, as a share of the side. */
export const STROKE_WIDTH = 1 / 96;

const FARTHEST = 16;

const float32 = Math.fround;

/**
 * Draw a Quick, Draw! record as large as the margin allows.
 *
 * @param {Stroke[]} strokes In any unit.
 * @param {number} size Side of the image in pixels.
 * @param {number} [width] Of lines, as a share of the side.
 * @returns {Uint8Array} [size, size], paper = 255, ink = 0.
 * @throws {RangeError} It has no points, or some that are no numbers.
 */
export function drawing(strokes, size, width = STROKE_WIDTH) {
  if (!strokes.some(([xs]) => xs.length)) throw new RangeError('a drawing without strokes');
  return rasterise(fitToCanvas(strokes, STROKE_MARGIN), size, width);
}

/**
 * Move and scale a drawing so that it is centred and as large as the margin allows.
 *
 * @param {Stroke[]} strokes In any unit.
 * @param {number} margin Free border on either end of the longest side, in canvas sides, within [0, 0.5).
 * @returns {[Float32Array, Float32Array][]} As many strokes in the same order, in canvas sides.
 */
export function fitToCanvas(strokes, margin) {
  if (!(margin >= 0 && margin < 0.5)) throw new RangeError(`margin must lie within [0, 0.5), got ${margin}`);
  const arrays = strokes.map(asFloat32);
  const [across, down] = [0, 1].map((axis) => {
    const values = arrays.flatMap((stroke) => [...stroke[axis]]);
    const low = values.reduce((least, value) => Math.min(least, value), Infinity);
    const high = values.reduce((most, value) => Math.max(most, value), -Infinity);
    return { extent: high - low, centre: (low + high) / 2 };
  });
  const extent = Math.max(across.extent, down.extent);
  const scale = extent > 0 ? (1 - 2 * margin) / extent : 0;
  const fitted = (values, { centre }) => values.map((value) => (value - centre) * scale + 0.5);
  return arrays.map(([xs, ys]) => [fitted(xs, across), fitted(ys, down)]);
}

/**
 * Draw strokes with a round pen, anti-aliased, black on white.
 *
 * @param {Stroke[]} strokes In canvas sides. One point makes a dot, and what leaves the canvas, [0, 1]², is cut off.
 * @param {number} size Side of the image in pixels, at least 1.
 * @param {number} width Diameter of the pen in canvas sides, above 0. Lines stay at least one pixel wide.
 * @returns {Uint8Array} [size, size], paper = 255, ink = 0.
 * @throws {RangeError} `size` or `width` out of range, or points that cannot be in canvas sides.
 */
export function rasterise(strokes, size, width) {
  if (!(Number.isInteger(size) && size > 0)) throw new RangeError(`size must be at least 1 pixel, got ${size}`);
  if (!(width > 0 && width < FARTHEST)) throw new RangeError(`width must be above 0 canvas sides, got ${width}`);
  const samples = Math.min(Math.max(roundHalfEven(1200 / size), 3), 8);
  const side = size * samples;
  const radius = roundHalfEven((Math.max(width * size, 1) * samples - 1) / 2); // at least 1, with 3 samples a pixel
  const canvas = { side, ink: new Uint8Array(side * side) };
  const disc = discOf(radius);
  const toSample = (value) => {
    if (!(Math.abs(value) < FARTHEST)) throw new RangeError('points must be finite and in canvas sides');
    return Math.floor(float32(value * side));
  };
  for (const stroke of strokes) {
    const [xs, ys] = asFloat32(stroke).map((values) => Array.from(values, toSample));
    xs.forEach((x, i) => {
      if (i > 0) drawLine(canvas, xs[i - 1], ys[i - 1], x, ys[i], radius);
      drawDisc(canvas, x, ys[i], disc);
    });
  }
  return reduced(canvas, samples);
}

/** Python's `round`. */
export function roundHalfEven(value) {
  const up = Math.floor(value + 0.5);
  return up - value === 0.5 && up % 2 ? up - 1 : up;
}

/** `ROUND_DOWN` of Draw.c. */
const roundHalfToZero = (value) => Math.sign(value) * Math.ceil(Math.abs(value) - 0.5);

function asFloat32([xs, ys]) {
  if (xs.length !== ys.length) throw new RangeError('a stroke is a list of x and a list of as many y');
  return [new Float32Array(xs), new Float32Array(ys)];
}

/** Ink a row from `left` to `right`, both included. */
function drawRow({ side, ink }, left, right, y) {
  const first = Math.max(left, 0);
  const last = Math.min(right, side - 1);
  if (y >= 0 && y < side && first <= last) ink.fill(1, y * side + first, y * side + last + 1);
}

/** How far a disc reaches to either side of its centre, in samples, in each row from the middle one on. */
function discOf(radius) {
  const deviation = ([x, y]) => Math.abs(x * x + y * y - radius * radius);
  const reach = [radius];
  let [x, y] = [radius, 0];
  while (x > 0 || y < radius) {
    // As `quarter_next` walks: of steps that are as good, the first.
    const steps = x > 0 ? [[x, y + 1], [x - 1, y + 1], [x - 1, y]] : [[x, y + 1]];
    [x, y] = steps.reduce((best, step) => (deviation(step) < deviation(best) ? step : best));
    reach[y] ??= x;
  }
  return reach;
}

function drawDisc(canvas, x, y, disc) {
  disc.forEach((reach, row) => {
    drawRow(canvas, x - reach, x + reach, y - row);
    drawRow(canvas, x - reach, x + reach, y + row);
  });
}

/**
 * `ImagingDrawWideLine`, for odd widths: a rectangle about the line, with its corners moved to samples.
 *
 * `polygon_generic` inks between every other two crossings of a row with the edges, and mends sharp corners. With a
 * rectangle, that comes to the row from its first crossing to its last, and no corner is sharp.
 */
function drawLine(canvas, x0, y0, x1, y1, radius) {
  if (x0 === x1 && y0 === y1) return; // a point, which the disc covers
  const ratio = radius / Math.sqrt((x1 - x0) ** 2 + (y1 - y0) ** 2);
  const [x, y] = [roundHalfToZero(ratio * (y1 - y0)), roundHalfToZero(ratio * (x1 - x0))];
  const corners = [[x0 - x, y0 + y], [x1 - x, y1 + y], [x1 + x, y1 - y], [x0 + x, y0 - y]];
  const rows = corners.map((corner) => corner[1]);
  const top = Math.max(0, Math.min(...rows));
  const bottom = Math.min(canvas.side - 1, Math.max(...rows));
  if (top > bottom) return;
  const left = new Float32Array(bottom - top + 1).fill(Infinity);
  const right = new Float32Array(bottom - top + 1).fill(-Infinity);
  corners.forEach(([fromX, fromY], i) => {
    const [toX, toY] = corners[(i + 1) % 4];
    const slope = float32((toX - fromX) / (toY - fromY || 1)); // any will do for a level edge: it has one row
    const last = Math.min(bottom, Math.max(fromY, toY)) - top;
    for (let row = Math.max(top, Math.min(fromY, toY)) - top; row <= last; row++) {
      const column = float32(float32((row + top - fromY) * slope) + fromX);
      left[row] = Math.min(left[row], column);
      right[row] = Math.max(right[row], column);
    }
  });
  left.forEach((column, row) => {
    drawRow(canvas, Math.floor(float32(column + 0.5)), roundHalfToZero(right[row]), row + top);
  });
}

/** `ImagingReduce`: the mean of samples × samples, with a multiplication for the division. */
function reduced({ side, ink }, samples) {
  const size = side / samples;
  const area = samples ** 2;
  const multiplier = Math.floor(2 ** 24 / area);
  const grays = Array.from({ length: area + 1 }, (_, count) =>
    (((area - count) * PAPER + (area >> 1)) * multiplier) >>> 24);
  const inked = new Uint8Array(size * size);
  for (let y = 0, at = 0; y < side; y++) {
    const row = Math.floor(y / samples) * size;
    for (let x = row; x < row + size; x++) {
      let count = 0;
      for (const end = at + samples; at < end; at++) count += ink[at];
      inked[x] += count;
    }
  }
  return inked.map((count) => grays[count]);
}

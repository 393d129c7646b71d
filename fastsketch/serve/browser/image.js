/**
 * An image's pixels → the gray image that `fastsketch` makes of them.
 *
 * A port of `decode_picture` in `fastsketch/conversion/decode.py`, for RGBA, with Pillow's arithmetic (AlphaComposite.c,
 * Convert.c, Resample.c).
 */

import { roundHalfEven } from './rasterise.js';

const PAPER = 255;
const WEIGHT_BITS = 22;

const sinc = (x) => (x ? Math.sin(Math.PI * x) / (Math.PI * x) : 1);

/** Of Pillow's filters, how far they reach from the middle of an output pixel, and the weight of what is so far away. */
const FILTERS = {
  nearest: { reach: 0, weigh: () => 1 },
  box: { reach: 0.5, weigh: (x) => Number(x > -0.5 && x <= 0.5) },
  bilinear: { reach: 1, weigh: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: { reach: 2, weigh: (x) => cubic(Math.abs(x)) },
  lanczos: { reach: 3, weigh: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

function cubic(x) {
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0;
}

/**
 * Lay an image on white paper, make it gray, resize it to fit, and centre it.
 *
 * @param {Uint8ClampedArray} rgba [height, width, 4], as `getImageData` gives them.
 * @param {number} width Of the image in pixels.
 * @param {number} height Of the image in pixels.
 * @param {number} size Side of the result in pixels.
 * @param {string} [filter] As `convert --resize` names it.
 * @returns {Uint8Array} [size, size], paper = 255.
 */
export function fromPixels(rgba, width, height, size, filter = 'bilinear') {
  const fit = (side) => Math.max(1, roundHalfEven((side * size) / Math.max(width, height)));
  const [across, down] = [fit(width), fit(height)];
  // Pillow rounds between its passes, and as of version 13 does the columns first if that removes many more pixels.
  const passes = height - down > Math.max(0, 2 * (width - across))
    ? [[width, width], [height, down], [width, across], [down, down]]
    : [[width, across], [height, down]];
  const resize = (turned, [from, to]) => resizedAndTurned(turned, from, to, FILTERS[filter]);
  const pixels = passes.reduce(resize, grayOnPaper(rgba));
  const square = new Uint8Array(size * size).fill(PAPER);
  const corner = ((size - down) >> 1) * size + ((size - across) >> 1);
  for (let y = 0; y < down; y++) square.set(pixels.subarray(y * across, (y + 1) * across), corner + y * size);
  return square;
}

/** n / 255, rounded, for n up to 255². */
const over255 = (n) => ((n + 128) * 257) >> 16;

function grayOnPaper(rgba) {
  const gray = new Uint8Array(rgba.length / 4);
  for (let i = 0, at = 0; i < gray.length; i++, at += 4) {
    const alpha = rgba[at + 3];
    const paper = PAPER * (255 - alpha);
    const red = over255(rgba[at] * alpha + paper);
    const green = over255(rgba[at + 1] * alpha + paper);
    const blue = over255(rgba[at + 2] * alpha + paper);
    gray[i] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
  }
  return gray;
}

/** Resize rows, [height, from], to columns, [to, height]. Once more, and both sides are resized and none is turned. */
function resizedAndTurned(pixels, from, to, { reach, weigh }) {
  const height = pixels.length / from;
  const turned = new Uint8ClampedArray(to * height);
  const scale = from / to;
  const widened = Math.max(scale, 1); // a filter widens as the image shrinks
  let walked = scale / 2; // as Pillow finds the nearest, step by step
  for (let x = 0; x < to; x++, walked += scale) {
    const centre = reach ? (x + 0.5) * scale : walked;
    const first = reach ? Math.max(0, Math.trunc(centre - reach * widened + 0.5)) : Math.trunc(centre);
    const last = reach ? Math.min(from, Math.trunc(centre + reach * widened + 0.5)) : first + 1;
    const shareOf = (_, i) => weigh((first + i - centre + 0.5) * (1 / widened));
    const shares = Array.from({ length: last - first }, shareOf);
    const total = shares.reduce((sum, share) => sum + share);
    const weights = Int32Array.from(shares, (share) => (share / total) * 2 ** WEIGHT_BITS + Math.sign(share) * 0.5);
    for (let y = 0; y < height; y++) {
      const start = y * from + first;
      let sum = 1 << (WEIGHT_BITS - 1);
      for (let i = 0; i < weights.length; i++) sum += pixels[start + i] * weights[i];
      turned[x * height + y] = sum >> WEIGHT_BITS;
    }
  }
  return turned;
}

// The sheet of paper: what is drawn on it by mouse, pen or finger, as strokes, or a picture that was put on it.

/** Units of the strokes that a side of the sheet is long. */
const SIDE = 1000;

/** Line width as a share of the side; what the model is shown is as wide, of a drawing that fills the sheet. */
const LINE = 1 / 96;

export class Sheet {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {(done: boolean) => void} changed - called after every change; `done` while no line is being drawn
   */
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed;
    this.strokes = [];
    this.picture = null;
    this.width = 1;
    this.pointer = null;
    canvas.addEventListener('pointerdown', (event) => this.#begin(event));
    canvas.addEventListener('pointermove', (event) => this.#go(event));
    for (const end of ['pointerup', 'pointercancel']) canvas.addEventListener(end, (event) => this.#end(event));
    new ResizeObserver(() => this.#resize()).observe(canvas);
  }

  get empty() {
    return !this.strokes.length && !this.picture;
  }

  /** What is asked about: `{drawing: [[xs, ys], …], width}`, or `{picture: {blob, bitmap}}`. */
  get sketch() {
    return this.picture ? { picture: this.picture } : { drawing: this.strokes, width: this.width };
  }

  undo() {
    this.pointer = null; // a line in the making ends
    if (this.picture) this.picture = null;
    else this.strokes.pop();
    this.#update(true);
  }

  clear() {
    this.put(null);
  }

  /** @param {number} width - of the lines, as a multiple of the usual */
  setWidth(width) {
    this.width = width;
    this.#update(true);
  }

  /** @param {?{blob: Blob, bitmap: ImageBitmap}} picture - in place of all that is there */
  put(picture) {
    this.pointer = null;
    this.strokes = [];
    this.picture = picture;
    this.#update(true);
  }

  /** @returns {Promise<Blob>} a PNG, black on white */
  png() {
    return new Promise((resolve) => this.canvas.toBlob(resolve, 'image/png'));
  }

  #begin(event) {
    if (this.pointer !== null || event.button !== 0) return; // a second finger draws nothing
    this.pointer = event.pointerId;
    this.canvas.setPointerCapture(event.pointerId);
    this.picture = null;
    this.strokes.push([[], []]);
    this.#add(event);
  }

  #go(event) {
    if (event.pointerId !== this.pointer) return;
    // Browsers hand over one event a frame: the others, which make a line round, are in it.
    for (const each of event.getCoalescedEvents?.() ?? []) this.#append(each);
    this.#add(event);
  }

  #end(event) {
    if (event.pointerId !== this.pointer) return;
    this.pointer = null;
    this.changed(true);
  }

  #add(event) {
    this.#append(event);
    this.#update(false);
  }

  #append(event) {
    const box = this.canvas.getBoundingClientRect();
    const edge = this.canvas.clientLeft;
    const unit = SIDE / this.canvas.clientWidth;
    const [x, y] = [event.clientX - box.left - edge, event.clientY - box.top - edge].map((at) => round(at * unit));
    const [xs, ys] = this.strokes.at(-1);
    if (x !== xs.at(-1) || y !== ys.at(-1)) {
      xs.push(x);
      ys.push(y);
    }
  }

  #update(done) {
    this.#draw();
    this.changed(done);
  }

  #resize() {
    const side = Math.round(this.canvas.clientWidth * devicePixelRatio);
    if (side && side !== this.canvas.width) {
      this.canvas.width = this.canvas.height = side;
      this.#draw();
    }
  }

  #draw() {
    const pen = this.canvas.getContext('2d');
    const side = this.canvas.width;
    pen.fillStyle = '#fff';
    pen.fillRect(0, 0, side, side);
    if (this.picture) {
      const { bitmap } = this.picture;
      const scale = side / Math.max(bitmap.width, bitmap.height);
      const [width, height] = [bitmap.width * scale, bitmap.height * scale];
      pen.drawImage(bitmap, (side - width) / 2, (side - height) / 2, width, height);
    }
    pen.strokeStyle = '#000';
    pen.lineCap = pen.lineJoin = 'round';
    pen.lineWidth = side * LINE * this.width;
    for (const [xs, ys] of this.strokes) {
      pen.beginPath();
      xs.forEach((x, place) => pen.lineTo((x * side) / SIDE, (ys[place] * side) / SIDE));
      // A line without length has no ends, round or other: a dot is one with hardly any.
      if (xs.length === 1) pen.lineTo((xs[0] * side) / SIDE + 0.01, (ys[0] * side) / SIDE);
      pen.stroke();
    }
  }
}

/** Within the sheet, to a tenth: a line that leaves it ends at its edge. */
const round = (value) => Math.round(Math.min(Math.max(value, 0), SIDE) * 10) / 10;

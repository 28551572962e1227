// Decodes codes to pictures in the browser: the layers of a decoder, as decoder.wasm computes them.
"use strict";

/** Bytes of a base64 text. */
function bytesOf(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/** Undo zlib. */
async function inflated(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Whole numbers of 16 bits that were stored as all low bytes, then all high bytes. */
function wholeNumbers(bytes) {
  const count = bytes.length / 2;
  const numbers = new Int16Array(count);
  for (let i = 0; i < count; i++) numbers[i] = bytes[i] | (bytes[count + i] << 8);
  return numbers;
}

const upTo = (count, step) => Math.ceil(count / step) * step;

/**
 * A function from a code to a picture.
 *
 * network: { layers, shape: [C, H, W], likelihood, scale }; a layer is { kind, before, after, kernel, shape, weight,
 * bias, parts }, where `weight` is { from, rows, run, scales } in `numbers` and `bias` an array.
 */
async function makeDecoder(wasm, network, numbers) {
  const { instance } = await WebAssembly.instantiate(wasm, {});
  const core = instance.exports;
  const room = (count) => core.allocate(upTo(count, 16) + 16);
  const floats = (at, count) => new Float32Array(core.memory.buffer, at, count);

  function rowsOf({ from, rows, run, scales }, each) {
    for (let row = 0; row < rows; row++)
      for (let i = 0; i < run; i++) each(row, i, numbers[from + row * run + i] * scales[row]);
  }
  function linearWeights(layer) {
    const run = upTo(layer.weight.run, 4);
    const at = room(layer.weight.rows * run);
    const values = floats(at, layer.weight.rows * run);
    rowsOf(layer.weight, (row, i, value) => (values[row * run + i] = value));
    return at;
  }
  function convWeights(layer) {
    const run = layer.weight.run;
    const at = room(upTo(layer.after, 8) * run);
    const values = floats(at, upTo(layer.after, 8) * run);
    rowsOf(layer.weight, (row, i, value) => (values[(row >> 3) * run * 8 + i * 8 + (row & 7)] = value));
    return at;
  }
  function biases(layer) {
    const at = room(upTo(layer.after, 8));
    floats(at, layer.after).set(layer.bias);
    return at;
  }

  // Buffers are allocated once, for the largest map: two that take turns, one for what a block keeps, one for edges.
  let largest = network.latents;
  let padded = 0;
  (function measure(layers, start) {
    let [channels, height, width] = start;
    for (const layer of layers) {
      if (layer.kind === "linear") [channels, height, width] = [layer.after, 1, 1];
      if (layer.kind === "view") [channels, height, width] = layer.shape;
      if (layer.kind === "conv") channels = layer.after;
      if (layer.kind === "transposed") [channels, height, width] = [layer.after, 2 * height, 2 * width];
      if (layer.kind === "shuffle") [channels, height, width] = [channels / 4, 2 * height, 2 * width];
      if (layer.parts) measure(layer.parts, [channels, height, width]);
      if (layer.kind === "enlarger") [height, width] = [2 * height, 2 * width];
      largest = Math.max(largest, channels * height * width);
      padded = Math.max(padded, (channels + 4 * (layer.before || 0)) * (height + 32) * (width + 32));
    }
    return [channels, height, width];
  })(network.layers, [network.latents, 1, 1]);
  const spare = Array.from({ length: 6 }, () => room(largest));
  const scratch = room(padded);
  const taken = () => spare.pop();
  const free = (at) => spare.push(at);

  function convolution(layer) {
    const weight = convWeights(layer);
    const bias = biases(layer);
    return (map) => {
      const to = taken();
      core.conv(map.at, to, map.height, map.width, map.channels, layer.after, layer.kernel, weight, bias, scratch);
      free(map.at);
      return { ...map, at: to, channels: layer.after };
    };
  }
  const size = (map) => map.channels * map.height * map.width;
  const inPlace = (name) => (map) => (core[name](map.at, map.at, size(map)), map);
  function copy(map) {
    const at = taken();
    floats(at, size(map)).set(floats(map.at, size(map)));
    return { ...map, at };
  }

  const made = {
    linear(layer) {
      const weight = linearWeights(layer);
      const bias = biases(layer);
      return (map) => {
        const to = taken();
        core.linear(map.at, to, layer.before, layer.after, weight, bias);
        free(map.at);
        return { at: to, channels: layer.after, height: 1, width: 1 };
      };
    },
    view(layer) {
      const [channels, height, width] = layer.shape;
      return (map) => {
        const to = taken();
        core.view(map.at, to, channels, height * width);
        free(map.at);
        return { at: to, channels, height, width };
      };
    },
    conv: convolution,
    transposed(layer) {
      const weight = linearWeights(layer);
      const bias = biases(layer);
      return (map) => {
        const to = taken();
        core.transposed(map.at, to, map.height, map.width, map.channels, layer.after, layer.kernel, weight, bias);
        free(map.at);
        return { at: to, channels: layer.after, height: 2 * map.height, width: 2 * map.width };
      };
    },
    residual(layer) {
      const parts = layer.parts.map((part) => made[part.kind](part));
      return (map) => {
        const changed = parts.reduce((value, part) => part(value), copy(map));
        core.add(changed.at, map.at, size(map));
        free(map.at);
        return changed;
      };
    },
    shuffle: () => (map) => {
      const to = taken();
      const channels = map.channels / 4;
      core.shuffle(map.at, to, map.height, map.width, channels);
      free(map.at);
      return { at: to, channels, height: 2 * map.height, width: 2 * map.width };
    },
    silu: () => inPlace("silu"),
    relu: () => inPlace("relu"),
    enlarger(layer) {
      const steps = layer.parts.map((part) => made[part.kind](part));
      const shuffled = made.shuffle();
      return (map) => {
        const detail = steps.reduce((value, step) => step(value), inPlace("tanh_half")(copy(map)));
        core.add_repeated(detail.at, map.at, map.height * map.width, map.channels);
        free(map.at);
        return shuffled(detail);
      };
    },
  };
  const steps = network.layers.map((layer) => made[layer.kind](layer));
  const [channels, height, width] = network.shape;
  const rgba = room(height * width);
  const others = {
    "continuous-bernoulli": (eta) =>
      Math.abs(eta) < 0.1 ? 0.5 + eta / 12 - eta ** 3 / 720 : 0.5 + 0.5 / Math.tanh(eta / 2) - 1 / eta,
    "discretised-logistic": (eta) => {
      const mu = 1 / (1 + Math.exp(-eta));
      const soft = (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
      return network.scale * (soft(mu / network.scale) - soft((mu - 1) / network.scale));
    },
  };

  /** RGBA bytes of the picture of a code. They are overwritten by the next call. */
  return function decode(code) {
    const at = taken();
    floats(at, upTo(code.length, 4)).fill(0);
    floats(at, code.length).set(code);
    const map = steps.reduce((value, step) => step(value), { at, channels: code.length, height: 1, width: 1 });
    const other = others[network.likelihood];
    if (other) floats(map.at, size(map)).set(floats(map.at, size(map)).map(other));
    else core.sigmoid(map.at, map.at, size(map));
    core.bytes(map.at, rgba, height * width, channels);
    free(map.at);
    return new Uint8ClampedArray(core.memory.buffer, rgba, 4 * height * width);
  };
}
globalThis.betabloomDecoder = { bytesOf, inflated, wholeNumbers, makeDecoder };

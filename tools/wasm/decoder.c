/* The layers of a decoder for a browser: what betabloom.networks.fast_numpy computes, in WebAssembly with SIMD.
 *
 * Maps are (H, W, C), float32. A convolution reads the k rows around a pixel, each a run of k·C numbers that lie side by
 * side, and works on four pixels and eight channels at a time, so that eight sums stay in registers.
 *
 * Build: make wasm (clang with the target wasm32, and wasm-ld).
 */
#include <stdint.h>
#include <wasm_simd128.h>

#define EXPORT(name) __attribute__((export_name(name)))

extern unsigned char __heap_base;
static uint32_t top = 0;

EXPORT("allocate") float *allocate(uint32_t count) {
  if (!top) top = ((uint32_t)&__heap_base + 15) & ~15u;
  uint32_t at = top;
  top += (count * 4 + 63) & ~63u;
  uint32_t have = __builtin_wasm_memory_size(0) * 65536u;
  if (top > have) __builtin_wasm_memory_grow(0, (top - have + 65535u) / 65536u);
  return (float *)at;
}

/* exp(x) to about one part in ten million: 2^n by the exponent's bits, the rest by a polynomial (Cephes). */
static inline v128_t exp4(v128_t x) {
  x = wasm_f32x4_min(wasm_f32x4_max(x, wasm_f32x4_splat(-87.0f)), wasm_f32x4_splat(88.0f));
  v128_t n = wasm_f32x4_nearest(wasm_f32x4_mul(x, wasm_f32x4_splat(1.44269504088896341f)));
  x = wasm_f32x4_sub(x, wasm_f32x4_mul(n, wasm_f32x4_splat(0.693359375f)));
  x = wasm_f32x4_sub(x, wasm_f32x4_mul(n, wasm_f32x4_splat(-2.12194440e-4f)));
  v128_t y = wasm_f32x4_splat(1.9875691500e-4f);
  y = wasm_f32x4_add(wasm_f32x4_mul(y, x), wasm_f32x4_splat(1.3981999507e-3f));
  y = wasm_f32x4_add(wasm_f32x4_mul(y, x), wasm_f32x4_splat(8.3334519073e-3f));
  y = wasm_f32x4_add(wasm_f32x4_mul(y, x), wasm_f32x4_splat(4.1665795894e-2f));
  y = wasm_f32x4_add(wasm_f32x4_mul(y, x), wasm_f32x4_splat(1.6666665459e-1f));
  y = wasm_f32x4_add(wasm_f32x4_mul(y, x), wasm_f32x4_splat(5.0000001201e-1f));
  y = wasm_f32x4_add(wasm_f32x4_mul(y, wasm_f32x4_mul(x, x)), wasm_f32x4_add(x, wasm_f32x4_splat(1.0f)));
  v128_t power = wasm_i32x4_shl(wasm_i32x4_add(wasm_i32x4_trunc_sat_f32x4(n), wasm_i32x4_splat(127)), 23);
  return wasm_f32x4_mul(y, power);
}

static inline v128_t sigmoid4(v128_t x) {
  v128_t one = wasm_f32x4_splat(1.0f);
  return wasm_f32x4_div(one, wasm_f32x4_add(one, exp4(wasm_f32x4_neg(x))));
}

/* Buffers have room up to a multiple of 16 numbers, so that the last four may be read and written whole. */
EXPORT("silu") void silu(const float *x, float *y, int count) {
  for (int i = 0; i < count; i += 4) {
    v128_t v = wasm_v128_load(x + i);
    wasm_v128_store(y + i, wasm_f32x4_mul(v, sigmoid4(v)));
  }
}

EXPORT("relu") void relu(const float *x, float *y, int count) {
  for (int i = 0; i < count; i += 4)
    wasm_v128_store(y + i, wasm_f32x4_max(wasm_v128_load(x + i), wasm_f32x4_splat(0.0f)));
}

EXPORT("tanh_half") void tanh_half(const float *x, float *y, int count) { /* tanh(x / 2) = 2 sigmoid(x) − 1 */
  for (int i = 0; i < count; i += 4) {
    v128_t s = sigmoid4(wasm_v128_load(x + i));
    wasm_v128_store(y + i, wasm_f32x4_sub(wasm_f32x4_add(s, s), wasm_f32x4_splat(1.0f)));
  }
}

EXPORT("add") void add(float *x, const float *y, int count) {
  for (int i = 0; i < count; i += 4)
    wasm_v128_store(x + i, wasm_f32x4_add(wasm_v128_load(x + i), wasm_v128_load(y + i)));
}

/* y = W x + b; the rows of W have a multiple of four numbers, as x has, with zeros at the end. */
EXPORT("linear") void linear(const float *x, float *y, int before, int after, const float *weight, const float *bias) {
  int run = (before + 3) & ~3;
  for (int o = 0; o < after; o++) {
    const float *w = weight + o * run;
    v128_t a = wasm_f32x4_splat(0.0f), b = a;
    int i = 0;
    for (; i + 8 <= run; i += 8) {
      a = wasm_f32x4_add(a, wasm_f32x4_mul(wasm_v128_load(w + i), wasm_v128_load(x + i)));
      b = wasm_f32x4_add(b, wasm_f32x4_mul(wasm_v128_load(w + i + 4), wasm_v128_load(x + i + 4)));
    }
    for (; i < run; i += 4) a = wasm_f32x4_add(a, wasm_f32x4_mul(wasm_v128_load(w + i), wasm_v128_load(x + i)));
    a = wasm_f32x4_add(a, b);
    y[o] = wasm_f32x4_extract_lane(a, 0) + wasm_f32x4_extract_lane(a, 1) + wasm_f32x4_extract_lane(a, 2) +
           wasm_f32x4_extract_lane(a, 3) + bias[o];
  }
}

/* (C, H, W) to (H, W, C). */
EXPORT("view") void view(const float *x, float *y, int channels, int pixels) {
  for (int c = 0; c < channels; c++)
    for (int p = 0; p < pixels; p++) y[p * channels + c] = x[c * pixels + p];
}

static void padded(const float *x, float *y, int height, int width, int channels, int edge) {
  int wide = (width + 2 * edge) * channels, run = width * channels;
  for (int i = 0; i < (height + 2 * edge) * wide; i++) y[i] = 0.0f;
  for (int row = 0; row < height; row++) {
    float *to = y + (row + edge) * wide + edge * channels;
    const float *from = x + row * run;
    for (int i = 0; i < run; i++) to[i] = from[i];
  }
}

/* Convolution with stride 1 that keeps the size. `weight`: blocks of eight channels, (k·k·C, 8) each; `bias` has room
 * for whole blocks; `scratch` holds the padded map; channels that do not fill a block are not written. */
EXPORT("conv") void conv(const float *x, float *y, int height, int width, int before, int after, int kernel,
                         const float *weight, const float *bias, float *scratch) {
  int edge = kernel / 2, wide = (width + 2 * edge) * before, run = kernel * before, block = kernel * run * 8;
  if (edge) padded(x, scratch, height, width, before, edge);
  const float *source = edge ? scratch : x;
  int pixels = height * width;
  for (int first = 0, part = 0; first < after; first += 8, part++) {
    const float *matrix = weight + part * block;
    v128_t low = wasm_v128_load(bias + first), high = wasm_v128_load(bias + first + 4);
    int count = after - first < 8 ? after - first : 8;
    for (int p = 0; p < pixels; p += 4) {
      int row = p / width, column = p % width; /* widths are multiples of four */
      const float *at = source + row * wide + column * before;
      v128_t a0 = low, a1 = high, b0 = low, b1 = high, c0 = low, c1 = high, d0 = low, d1 = high;
      const float *w = matrix;
      for (int r = 0; r < kernel; r++, at += wide) {
        const float *a = at, *b = at + before, *c = at + 2 * before, *d = at + 3 * before;
        for (int i = 0; i < run; i++, w += 8) {
          v128_t w0 = wasm_v128_load(w), w1 = wasm_v128_load(w + 4), s;
          s = wasm_v128_load32_splat(a + i);
          a0 = wasm_f32x4_add(a0, wasm_f32x4_mul(s, w0));
          a1 = wasm_f32x4_add(a1, wasm_f32x4_mul(s, w1));
          s = wasm_v128_load32_splat(b + i);
          b0 = wasm_f32x4_add(b0, wasm_f32x4_mul(s, w0));
          b1 = wasm_f32x4_add(b1, wasm_f32x4_mul(s, w1));
          s = wasm_v128_load32_splat(c + i);
          c0 = wasm_f32x4_add(c0, wasm_f32x4_mul(s, w0));
          c1 = wasm_f32x4_add(c1, wasm_f32x4_mul(s, w1));
          s = wasm_v128_load32_splat(d + i);
          d0 = wasm_f32x4_add(d0, wasm_f32x4_mul(s, w0));
          d1 = wasm_f32x4_add(d1, wasm_f32x4_mul(s, w1));
        }
      }
      v128_t sums[8] = {a0, a1, b0, b1, c0, c1, d0, d1};
      for (int q = 0; q < 4 && p + q < pixels; q++) {
        float *to = y + (p + q) * after + first;
        if (count == 8) {
          wasm_v128_store(to, sums[2 * q]);
          wasm_v128_store(to + 4, sums[2 * q + 1]);
        } else {
          float values[8];
          wasm_v128_store(values, sums[2 * q]);
          wasm_v128_store(values + 4, sums[2 * q + 1]);
          for (int i = 0; i < count; i++) to[i] = values[i];
        }
      }
    }
  }
}

/* Transposed convolution with stride 2 that doubles the size. `weight`: (k, k, C_after, C_before), rows padded to a
 * multiple of four as in `linear`. */
EXPORT("transposed") void transposed(const float *x, float *y, int height, int width, int before, int after, int kernel,
                                     const float *weight, const float *bias) {
  int edge = (kernel - 2) / 2, tall = 2 * height, wide = 2 * width, run = (before + 3) & ~3;
  for (int p = 0; p < tall * wide; p++)
    for (int c = 0; c < after; c++) y[p * after + c] = bias[c];
  for (int row = 0; row < height; row++)
    for (int column = 0; column < width; column++) {
      const float *from = x + (row * width + column) * before;
      for (int i = 0; i < kernel; i++) {
        int to_row = 2 * row + i - edge;
        if (to_row < 0 || to_row >= tall) continue;
        for (int j = 0; j < kernel; j++) {
          int to_column = 2 * column + j - edge;
          if (to_column < 0 || to_column >= wide) continue;
          float *to = y + (to_row * wide + to_column) * after;
          const float *w = weight + (i * kernel + j) * after * run;
          for (int c = 0; c < after; c++, w += run) {
            v128_t sum = wasm_f32x4_splat(0.0f);
            int k = 0;
            for (; k + 4 <= before; k += 4)
              sum = wasm_f32x4_add(sum, wasm_f32x4_mul(wasm_v128_load(w + k), wasm_v128_load(from + k)));
            float rest = 0.0f;
            for (; k < before; k++) rest += w[k] * from[k];
            to[c] += wasm_f32x4_extract_lane(sum, 0) + wasm_f32x4_extract_lane(sum, 1) +
                     wasm_f32x4_extract_lane(sum, 2) + wasm_f32x4_extract_lane(sum, 3) + rest;
          }
        }
      }
    }
}

/* Four pixels of C channels from the 4·C channels of each: (H, W, C, 2, 2) to (2H, 2W, C), the order of PixelShuffle. */
EXPORT("shuffle") void shuffle(const float *x, float *y, int height, int width, int channels) {
  for (int row = 0; row < height; row++)
    for (int column = 0; column < width; column++) {
      const float *from = x + (row * width + column) * channels * 4;
      for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) {
          float *to = y + ((2 * row + i) * 2 * width + 2 * column + j) * channels;
          for (int c = 0; c < channels; c++) to[c] = from[c * 4 + 2 * i + j];
        }
    }
}

/* Every channel four times, side by side: what an enlarger adds its detail to before the shuffle. */
EXPORT("add_repeated") void add_repeated(float *detail, const float *x, int pixels, int channels) {
  for (int p = 0; p < pixels; p++)
    for (int c = 0; c < channels; c++)
      for (int k = 0; k < 4; k++) detail[(p * channels + c) * 4 + k] += x[p * channels + c];
}

EXPORT("sigmoid") void sigmoid(const float *x, float *y, int count) {
  for (int i = 0; i < count; i += 4) wasm_v128_store(y + i, sigmoid4(wasm_v128_load(x + i)));
}

/* Values from 0 to 1 as RGBA bytes, rounded to the nearest level; one channel is grey, a fourth is how opaque. */
EXPORT("bytes") void bytes(const float *x, uint8_t *rgba, int pixels, int channels) {
  for (int p = 0; p < pixels; p++) {
    uint8_t *to = rgba + 4 * p;
    for (int c = 0; c < 4; c++) {
      int from = channels < 3 ? 0 : c;
      float v = c == 3 && channels < 4 ? 1.0f : x[p * channels + from];
      to[c] = (uint8_t)__builtin_rintf((v < 0.0f ? 0.0f : v > 1.0f ? 1.0f : v) * 255.0f);
    }
  }
}

// The parts of a training step that PyTorch is slow at, on AMX: gradients of weights, attention, SwiGLU, Muon.
//
// A tile is 16 rows of 64 bytes. TDPBF16PS adds to 16 x 16 sums in fp32 the product of 16 x 32 and 32 x 16 values in
// bf16; of the right one, each dword holds two values below each other (Intel 64 and IA-32 Architectures Software
// Developer's Manual, volume 2). Sizes are multiples of 32 where nothing else is said, so that everything is cut into
// 2 x 2 tiles. Matrices are row by row; T: positions, D: a head's width, H: heads, G: heads of keys and values. Threads
// share out whole results: how many there are changes no bit.

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>

namespace {

using bf16 = std::uint16_t;

constexpr long BLOCK = 32;   // rows and columns of 2 x 2 tiles
constexpr long TILE = 1024;  // bytes
constexpr float LOG2E = 1.44269504f;

struct Buffer {
  explicit Buffer(long bytes) : data(static_cast<char*>(std::aligned_alloc(64, bytes / 64 * 64 + 64))) {
    if (data) return;
    std::fprintf(stderr, "out of memory: %ld bytes for a training step\n", bytes);
    std::abort();
  }
  ~Buffer() { std::free(data); }
  Buffer(const Buffer&) = delete;
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data);
  }
  char* data;
};

// GCC's tile instructions do not say that they read memory: what was written must be there before them.
inline void written() { asm volatile("" ::: "memory"); }

// While it lives, each of this thread's eight tiles is 16 rows of 64 bytes.
struct TileConfig {
  TileConfig() {
    alignas(64) std::uint8_t config[64] = {1};  // palette 1
    for (int tile = 0; tile < 8; ++tile) {
      config[16 + 2 * tile] = 64;  // bytes a row
      config[48 + tile] = 16;      // rows
    }
    written();
    _tile_loadconfig(config);
  }
  ~TileConfig() { _tile_release(); }
};

// ---- 16 values at a time

__m256i load16(const bf16* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }

void store16(bf16* p, __m256i values) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), values); }

__m512 load_bf16(const bf16* p) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load16(p)), 16));
}

__m256i rounded(__m512 x) { return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x)); }

void store_bf16(bf16* p, __m512 x) { store16(p, rounded(x)); }

// Each dword has one of the first in its lower half and one of the second in its upper.
__m512i paired(__m256i first, __m256i second) {
  return _mm512_or_si512(_mm512_cvtepu16_epi32(first), _mm512_slli_epi32(_mm512_cvtepu16_epi32(second), 16));
}

// 2^x: Taylor's series on -0.5..0.5, wrong by 1.7e-7 of it at most.
__m512 exp2_of(__m512 x) {
  const __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 rest = _mm512_sub_ps(x, whole);
  __m512 sum = _mm512_set1_ps(1.5403530e-4f);
  for (const float c : {1.3333558e-3f, 9.6181291e-3f, 5.5504109e-2f, 2.4022651e-1f, 6.9314718e-1f, 1.0f})
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(c));
  return _mm512_scalef_ps(sum, whole);
}

// Of 16 columns from `column`, those that position `row` may look at.
__mmask16 visible(long row, long column) {
  const long n = row - column + 1;
  return n >= 16 ? 0xffff : n <= 0 ? 0 : static_cast<__mmask16>((1u << n) - 1);
}

// ---- products

// Where the tiles of a matrix are: tile (i, k), 16 rows and 32 values of the summed dimension (of a right operand, 16
// columns and 32 such values), begins at data + i * block + k * step; its rows are `row` bytes apart.
struct Tiles {
  const char* data;
  long row, block, step;

  Tiles from(long i, long k) const { return {data + i / 16 * block + k / 32 * step, row, block, step}; }
};

Tiles rows_of(const bf16* data, long columns) {
  return {reinterpret_cast<const char*>(data), 2 * columns, 32 * columns, 64};
}

Tiles packed(const Buffer& tiles, long summed) { return {tiles.data, 64, summed / 32 * TILE, TILE}; }

// sums (M, N) = a (M, K) times b (K, N), or as much more; `columns` apart in memory.
void multiply(float* sums, long columns, Tiles a, Tiles b, long M, long N, long K, bool more = false) {
  for (long m = 0; m < M; m += BLOCK)
    for (long n = 0; n < N; n += BLOCK) {
      float *upper = sums + m * columns + n, *lower = upper + 16 * columns;
      const long row = 4 * columns;
      written();
      if (more) {
        _tile_loadd(0, upper, row);
        _tile_loadd(1, upper + 16, row);
        _tile_loadd(2, lower, row);
        _tile_loadd(3, lower + 16, row);
      } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
      }
      const char *left = a.from(m, 0).data, *right = b.from(n, 0).data;
      for (long k = 0; k < K; k += 32, left += a.step, right += b.step) {
        _tile_loadd(4, left, a.row);
        _tile_loadd(6, right, b.row);
        _tile_loadd(5, left + a.block, a.row);
        _tile_loadd(7, right + b.block, b.row);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(3, 5, 7);
      }
      _tile_stored(0, upper, row);
      _tile_stored(1, upper + 16, row);
      _tile_stored(2, lower, row);
      _tile_stored(3, lower + 16, row);
    }
}

// ---- operands: packed tile after tile, the summed dimension first

// 16 x 16 dwords, turned.
void turn(const char* from, long from_row, char* to, long to_row) {
  __m512i a[16], b[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) a[i] = _mm512_loadu_si512(from + i * from_row);
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
    b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
    a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
    a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
    a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
  }
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {  // lane l of a[4 * g + c] is column 4 * l + c of rows 4 * g to 4 * g + 3
    const __m512i even = _mm512_shuffle_i32x4(a[c], a[4 + c], 0x88), odd = _mm512_shuffle_i32x4(a[c], a[4 + c], 0xdd);
    const __m512i even_low = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0x88);
    const __m512i odd_low = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0xdd);
    _mm512_storeu_si512(to + c * to_row, _mm512_shuffle_i32x4(even, even_low, 0x88));
    _mm512_storeu_si512(to + (4 + c) * to_row, _mm512_shuffle_i32x4(odd, odd_low, 0x88));
    _mm512_storeu_si512(to + (8 + c) * to_row, _mm512_shuffle_i32x4(even, even_low, 0xdd));
    _mm512_storeu_si512(to + (12 + c) * to_row, _mm512_shuffle_i32x4(odd, odd_low, 0xdd));
  }
}

void turn(const float* from, float* to) {
  turn(reinterpret_cast<const char*>(from), 64, reinterpret_cast<char*>(to), 64);
}

// A tile of 32 rows and 16 columns.
void pair_rows(const bf16* from, long columns, char* tile) {
  constexpr int AHEAD = 8;  // rows; the processor's own prefetchers do not follow so many
  for (int r = 0; r < 16; ++r, from += 2 * columns) {
    _mm_prefetch(from + AHEAD * columns, _MM_HINT_T0);
    _mm_prefetch(from + (AHEAD + 1) * columns, _MM_HINT_T0);
    _mm512_store_si512(tile + 64 * r, paired(load16(from), load16(from + columns)));
  }
}

// Right operand from (K, N), summed over K.
void pack_rows(const bf16* from, long columns, long K, long N, const Buffer& to) {
  for (long k = 0; k < K; k += 32)
    for (long n = 0; n < N; n += 16)
      pair_rows(from + k * columns + n, columns, to.data + (n / 16 * (K / 32) + k / 32) * TILE);
}

// Right operand from (N, K), summed over K.
void pack_columns(const bf16* from, long columns, long N, long K, const Buffer& to) {
  char* tile = to.data;
  for (long n = 0; n < N; n += 16)
    for (long k = 0; k < K; k += 32, tile += TILE)
      turn(reinterpret_cast<const char*>(from + n * columns + k), 2 * columns, tile, 64);
}

// Left operand from (K, M), summed over K.
void pack_turned(const bf16* from, long columns, long K, long M, const Buffer& to) {
  alignas(64) char tile[TILE];
  for (long k = 0; k < K; k += 32)
    for (long m = 0; m < M; m += 16) {
      pair_rows(from + k * columns + m, columns, tile);
      turn(tile, 64, to.data + (m / 16 * (K / 32) + k / 32) * TILE, 64);
    }
}

// Rows of sums to bf16, each times a factor of its own where there are factors.
void store_rows(const float* sums, bf16* to, long to_columns, long rows, long columns, const float* factors = nullptr) {
  for (long r = 0; r < rows; ++r)
    for (long c = 0; c < columns; c += 16) {
      const __m512 x = _mm512_loadu_ps(sums + r * columns + c);
      store_bf16(to + r * to_columns + c, factors ? _mm512_mul_ps(x, _mm512_set1_ps(factors[r])) : x);
    }
}

// ---- attention (Dao et al., "FlashAttention", 2022, appendix B): 32 positions of a head against all before them

struct Attention {
  Attention(long T, long D)
      : T(T), D(D), width(T + 32), keys(2 * T * D), values(2 * T * D), scores(4 * BLOCK * width), sums(4 * BLOCK * D) {}

  // Exponentials of a row's scores, of all that it sees; their sum, and the base 2 logarithm of what it stands for.
  float softmax(const float* row, long position, bf16* shares, float* log) const {
    const __m512 scale = _mm512_set1_ps(LOG2E / std::sqrt(static_cast<float>(D)));
    __m512 most = _mm512_set1_ps(-INFINITY), sum = _mm512_setzero_ps();
    for (long j = 0; j <= position; j += 16)
      most = _mm512_mask_max_ps(most, visible(position, j), most, _mm512_loadu_ps(row + j));
    const __m512 top = _mm512_mul_ps(_mm512_set1_ps(_mm512_reduce_max_ps(most)), scale);
    for (long j = 0; j < position / BLOCK * BLOCK + BLOCK; j += 16) {
      const __m512 above = _mm512_fmsub_ps(_mm512_loadu_ps(row + j), scale, top);
      const __m512 share = _mm512_maskz_mov_ps(visible(position, j), exp2_of(above));
      sum = _mm512_add_ps(sum, share);
      store_bf16(shares + j, share);
    }
    const float total = _mm512_reduce_add_ps(sum);
    *log = _mm512_cvtss_f32(top) + std::log2(total);
    return total;
  }

  long T, D;
  long width;  // of rows of scores: no power of 2, or they would crowd into a few lines of the cache
  Buffer keys, values, scores, sums;
};

struct AttentionGradient : Attention {
  AttentionGradient(long T, long D)
      : Attention(T, D), key_rows(2 * T * D), query_rows(2 * T * D), grad_rows(2 * T * D), of_shares(4 * BLOCK * width),
        of_scores(2 * BLOCK * width), pairs(2 * BLOCK * width), of_pairs(2 * BLOCK * width), turned(2 * T * width),
        of_turned(2 * T * width), of_keys(4 * T * D), of_values(4 * T * D) {}

  // Shares and the gradients of scores, of two rows: the latter as rows, and both as pairs.
  void softmax_gradient(long r, long position, const float* logs, const __m512 inner[2]) const {
    const __m512 scale = _mm512_set1_ps(1 / std::sqrt(static_cast<float>(D)));
    const __m512 scale2 = _mm512_mul_ps(scale, _mm512_set1_ps(LOG2E));
    for (long j = 0; j < position / BLOCK * BLOCK + BLOCK; j += 16) {
      __m256i share[2], of_score[2];
      for (long i = 0; i < 2; ++i) {
        const long at = (r + i) * width + j;
        const __m512 above = _mm512_fmsub_ps(_mm512_loadu_ps(scores.as<float>() + at), scale2, _mm512_set1_ps(logs[i]));
        const __m512 p = _mm512_maskz_mov_ps(visible(position + i, j), exp2_of(above));
        const __m512 change = _mm512_sub_ps(_mm512_loadu_ps(of_shares.as<float>() + at), inner[i]);
        share[i] = rounded(p);
        of_score[i] = rounded(_mm512_mul_ps(_mm512_mul_ps(p, scale), change));
        store16(of_scores.as<bf16>() + at, of_score[i]);
      }
      _mm512_storeu_si512(pairs.data + 2 * r * width + 4 * j, paired(share[0], share[1]));
      _mm512_storeu_si512(of_pairs.data + 2 * r * width + 4 * j, paired(of_score[0], of_score[1]));
    }
  }

  // What was left of 32 positions, as columns of what keys and values get.
  void keep_turned(long i) const {
    for (long j = 0; j < i + BLOCK; j += 16) {
      turn(pairs.data + 4 * j, 4 * width, turned.data + 2 * (j * width + i), 2 * width);
      turn(of_pairs.data + 4 * j, 4 * width, of_turned.data + 2 * (j * width + i), 2 * width);
    }
  }

  Buffer key_rows, query_rows, grad_rows, of_shares, of_scores, pairs, of_pairs, turned, of_turned, of_keys, of_values;
};

__m512 inner_product(const bf16* a, const bf16* b, long D) {
  __m512 sum = _mm512_setzero_ps();
  for (long d = 0; d < D; d += 16) sum = _mm512_fmadd_ps(load_bf16(a + d), load_bf16(b + d), sum);
  return _mm512_set1_ps(_mm512_reduce_add_ps(sum));
}

// ---- SwiGLU

__m512 sigmoid(__m512 x) {
  const __m512 below = _mm512_add_ps(_mm512_set1_ps(1), exp2_of(_mm512_mul_ps(x, _mm512_set1_ps(-LOG2E))));
  return _mm512_div_ps(_mm512_set1_ps(1), below);
}

// f(at) for each 16 of n values, of arrays whose next lines are fetched ahead.
template <class F, class... Arrays>
void for_each16(long n, int threads, F f, Arrays... arrays) {
  constexpr long AHEAD = 1024;  // values
#pragma omp parallel for schedule(static) num_threads(threads)
  for (long line = 0; line < n; line += 32) {
    (_mm_prefetch(arrays + line + AHEAD, _MM_HINT_T0), ...);
    f(line);
    f(line + 16);
  }
}

// ---- Muon

// The blocks on and above the diagonal of a symmetric product.
void multiply_upper(float* sums, Tiles a, Tiles b, long R, long K) {
  for (long r = 0; r < R; r += BLOCK) multiply(sums + r * R + r, R, a.from(r, 0), b.from(r, 0), BLOCK, R - r, K);
}

// The whole of a symmetric matrix (R, R) in bf16, each 16 values as f(values, row, column) gives them.
template <class F>
void mirror(const float* upper, long R, bf16* to, F f) {
  alignas(64) float block[256], turned[256];
  for (long r = 0; r < R; r += 16)
    for (long c = r / BLOCK * BLOCK; c < R; c += 16) {
      for (long i = 0; i < 16; ++i)
        _mm512_store_ps(block + 16 * i, f(_mm512_loadu_ps(upper + (r + i) * R + c), r + i, c));
      store_rows(block, to + r * R + c, R, 16, 16);
      if (c / BLOCK > r / BLOCK) {
        turn(block, turned);
        store_rows(turned, to + c * R + r, R, 16, 16);
      }
    }
}

struct NewtonSchulz {
  NewtonSchulz(long R, long C)
      : R(R), C(C), right(2 * R * C), square(2 * R * R), sums(4 * std::max(R * R, BLOCK * C)), grams(2 * R * R),
        polynomials(2 * R * R) {}

  // x (R, C), R <= C: for each (a, b, c) of the coefficients x <- (a + b x x^T + c (x x^T)^2) x.
  void operator()(bf16* x, const float* coefficients, long steps) const {
    float* sum = sums.as<float>();
    bf16 *gram = grams.as<bf16>(), *polynomial = polynomials.as<bf16>();
    for (long step = 0; step < steps; ++step, coefficients += 3) {
      const float a = coefficients[0], b = coefficients[1], c = coefficients[2];
      pack_columns(x, C, R, C, right);
      multiply_upper(sum, rows_of(x, C), packed(right, C), R, C);
      mirror(sum, R, gram, [](__m512 s, long, long) { return s; });
      pack_rows(gram, R, R, R, square);
      multiply_upper(sum, rows_of(gram, R), packed(square, R), R, R);
      mirror(sum, R, polynomial, [=](__m512 s, long r, long column) {
        const __mmask16 diagonal = r >= column && r < column + 16 ? 1u << (r - column) : 0;
        const __m512 constant = _mm512_maskz_mov_ps(diagonal, _mm512_set1_ps(a));
        const __m512 linear = _mm512_fmadd_ps(_mm512_set1_ps(b), load_bf16(gram + r * R + column), constant);
        return _mm512_fmadd_ps(_mm512_set1_ps(c), s, linear);
      });
      pack_rows(x, C, R, C, right);
      for (long r = 0; r < R; r += BLOCK) {
        multiply(sum, C, rows_of(polynomial + r * R, R), packed(right, R), BLOCK, C, R);
        store_rows(sum, x + r * C, C, BLOCK, C);
      }
    }
  }

  long R, C;
  Buffer right, square, sums, grams, polynomials;
};

// f(at) for each 16 values of (R, C), to bf16, turned where it is tall.
template <class F>
void write_wide(bf16* wide, long R, long C, F f) {
  if (R <= C) {
    for (long at = 0; at < R * C; at += 16) store_bf16(wide + at, f(at));
    return;
  }
  alignas(64) float block[256], turned[256];
  for (long r = 0; r < R; r += 16)
    for (long c = 0; c < C; c += 16) {
      for (long i = 0; i < 16; ++i) _mm512_store_ps(block + 16 * i, f((r + i) * C + c));
      turn(block, turned);
      store_rows(turned, wide + c * R + r, R, 16, 16);
    }
}

// f(at, values) for each 16 values of what `write_wide` wrote.
template <class F>
void read_wide(const bf16* wide, long R, long C, F f) {
  if (R <= C) {
    for (long at = 0; at < R * C; at += 16) f(at, load_bf16(wide + at));
    return;
  }
  alignas(64) float block[256], turned[256];
  for (long r = 0; r < R; r += 16)
    for (long c = 0; c < C; c += 16) {
      for (long i = 0; i < 16; ++i) _mm512_store_ps(block + 16 * i, load_bf16(wide + (c + i) * R + r));
      turn(block, turned);
      for (long i = 0; i < 16; ++i) f((r + i) * C + c, _mm512_load_ps(turned + 16 * i));
    }
}

}  // namespace

extern "C" {

// gradient (O, I) of weights = gradient of outputs (T, O), turned, times inputs (T, I).
void weight_gradient(const bf16* inputs, const bf16* outputs, float* gradient, long T, long I, long O, int threads) {
  constexpr long ROWS = 256, COLUMNS = 512;  // packed at a time, to stay in the second cache
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int thread = 0; thread < threads; ++thread) {
    const long first = O / BLOCK * thread / threads * BLOCK, end = O / BLOCK * (thread + 1) / threads * BLOCK;
    const long height = end - first;
    Buffer left(2 * ROWS * height), right(2 * ROWS * COLUMNS);
    TileConfig config;
    for (long t = 0; t < T; t += ROWS) {
      const long rows = std::min(ROWS, T - t);
      pack_turned(outputs + t * O + first, O, rows, height, left);
      for (long i = 0; i < I; i += COLUMNS) {
        const long columns = std::min(COLUMNS, I - i);
        pack_rows(inputs + t * I + i, I, rows, columns, right);
        multiply(gradient + first * I + i, I, packed(left, rows), packed(right, rows), height, columns, rows, t > 0);
      }
    }
  }
}

// q, out: (B, T, H, D), k, v: (B, T, G, D); logs: (B, H, T), base 2, of each row's sum of exponentials.
void attention(const bf16* q, const bf16* k, const bf16* v, bf16* out, float* logs, long B, long T, long H, long G,
               long D, int threads) {
#pragma omp parallel num_threads(threads)
  {
    const Attention head(T, D);
    const Buffer shares(2 * BLOCK * head.width);
    TileConfig config;
    float *scores = head.scores.as<float>(), *sums = head.sums.as<float>(), factors[BLOCK];
#pragma omp for schedule(dynamic)
    for (long group = 0; group < B * G; ++group) {
      const long b = group / G, g = group % G, shared = (b * T * G + g) * D;
      pack_columns(k + shared, G * D, T, D, head.keys);
      pack_rows(v + shared, G * D, T, D, head.values);
      for (long h = g * (H / G); h < (g + 1) * (H / G); ++h)
        for (long i = 0; i < T; i += BLOCK) {
          const long at = ((b * T + i) * H + h) * D;
          multiply(scores, head.width, rows_of(q + at, H * D), packed(head.keys, D), BLOCK, i + BLOCK, D);
          for (long r = 0; r < BLOCK; ++r) {
            float* log = logs + (b * H + h) * T + i + r;
            factors[r] = 1 / head.softmax(scores + r * head.width, i + r, shares.as<bf16>() + r * head.width, log);
          }
          multiply(sums, D, rows_of(shares.as<bf16>(), head.width), packed(head.values, T), BLOCK, D, i + BLOCK);
          store_rows(sums, out + at, H * D, BLOCK, D, factors);
        }
    }
  }
}

// The gradients of q, k and v from that of `out`, `grad`.
void attention_gradient(const bf16* q, const bf16* k, const bf16* v, const bf16* out, const float* logs,
                        const bf16* grad, bf16* of_q, bf16* of_k, bf16* of_v, long B, long T, long H, long G, long D,
                        int threads) {
#pragma omp parallel num_threads(threads)
  {
    const AttentionGradient head(T, D);
    TileConfig config;
    const long width = head.width;
    float *scores = head.scores.as<float>(), *of_shares = head.of_shares.as<float>(), *sums = head.sums.as<float>();
    float *of_keys = head.of_keys.as<float>(), *of_values = head.of_values.as<float>();
#pragma omp for schedule(dynamic)
    for (long group = 0; group < B * G; ++group) {
      const long b = group / G, g = group % G, shared = (b * T * G + g) * D;
      pack_columns(k + shared, G * D, T, D, head.keys);
      pack_columns(v + shared, G * D, T, D, head.values);
      pack_rows(k + shared, G * D, T, D, head.key_rows);
      for (long h = g * (H / G); h < (g + 1) * (H / G); ++h) {
        const long own = (b * T * H + h) * D;
        pack_rows(q + own, H * D, T, D, head.query_rows);
        pack_rows(grad + own, H * D, T, D, head.grad_rows);
        for (long i = 0; i < T; i += BLOCK) {
          const long at = own + i * H * D;
          multiply(scores, width, rows_of(q + at, H * D), packed(head.keys, D), BLOCK, i + BLOCK, D);
          multiply(of_shares, width, rows_of(grad + at, H * D), packed(head.values, D), BLOCK, i + BLOCK, D);
          for (long r = 0; r < BLOCK; r += 2) {
            const long first = at + r * H * D, second = first + H * D;
            const __m512 inner[2] = {inner_product(grad + first, out + first, D),
                                     inner_product(grad + second, out + second, D)};
            head.softmax_gradient(r, i + r, logs + (b * H + h) * T + i + r, inner);
          }
          head.keep_turned(i);
          multiply(sums, D, rows_of(head.of_scores.as<bf16>(), width), packed(head.key_rows, T), BLOCK, D, i + BLOCK);
          store_rows(sums, of_q + at, H * D, BLOCK, D);
        }
        const bool more = h > g * (H / G);
        const Tiles shares = rows_of(head.turned.as<bf16>(), width);
        const Tiles changes = rows_of(head.of_turned.as<bf16>(), width);
        for (long j = 0; j < T; j += BLOCK) {  // each key and value, of all positions from its own on
          const Tiles grads = packed(head.grad_rows, T).from(0, j), queries = packed(head.query_rows, T).from(0, j);
          multiply(of_values + j * D, D, shares.from(j, j), grads, BLOCK, D, T - j, more);
          multiply(of_keys + j * D, D, changes.from(j, j), queries, BLOCK, D, T - j, more);
        }
      }
      store_rows(of_keys, of_k + shared, G * D, T, D);
      store_rows(of_values, of_v + shared, G * D, T, D);
    }
  }
}

// out = gate sigmoid(gate) up, of n values each.
void swiglu(const bf16* gate, const bf16* up, bf16* out, long n, int threads) {
  const auto values = [=](long at) {
    const __m512 x = load_bf16(gate + at);
    store_bf16(out + at, _mm512_mul_ps(_mm512_mul_ps(x, sigmoid(x)), load_bf16(up + at)));
  };
  for_each16(n, threads, values, gate, up, out);
}

// The gradients of gate and up from that of out, `grad`.
void swiglu_gradient(const bf16* gate, const bf16* up, const bf16* grad, bf16* of_gate, bf16* of_up, long n,
                     int threads) {
  const auto values = [=](long at) {
    const __m512 x = load_bf16(gate + at), s = sigmoid(x), silu = _mm512_mul_ps(x, s), g = load_bf16(grad + at);
    const __m512 slope = _mm512_fmadd_ps(silu, _mm512_sub_ps(_mm512_set1_ps(1), s), s);
    store_bf16(of_gate + at, _mm512_mul_ps(_mm512_mul_ps(g, load_bf16(up + at)), slope));
    store_bf16(of_up + at, _mm512_mul_ps(g, silu));
  };
  for_each16(n, threads, values, gate, up, grad, of_gate, of_up);
}

// Muon's step for N matrices (R, C) with a gradient and a momentum each: momentum <- momentum + (1 - beta) (gradient -
// momentum), one more such step ahead, orthogonalized; parameter <- keep * parameter - rate * that.
void muon(float* const* parameters, const float* const* gradients, float* momenta, const float* coefficients,
          long steps, float beta, float keep, float rate, long N, long R, long C, int threads) {
#pragma omp parallel num_threads(threads)
  {
    const NewtonSchulz orthogonalize(std::min(R, C), std::max(R, C));
    const Buffer aheads(2 * R * C);
    bf16* ahead = aheads.as<bf16>();
    TileConfig config;
#pragma omp for schedule(dynamic)
    for (long n = 0; n < N; ++n) {
      float *parameter = parameters[n], *momentum = momenta + n * R * C;
      const float* gradient = gradients[n];
      __m512 squares = _mm512_setzero_ps();
      write_wide(ahead, R, C, [&](long at) {
        const __m512 g = _mm512_loadu_ps(gradient + at), old = _mm512_loadu_ps(momentum + at);
        const __m512 m = _mm512_fmadd_ps(_mm512_set1_ps(1 - beta), _mm512_sub_ps(g, old), old);
        const __m512 x = _mm512_fmadd_ps(_mm512_set1_ps(beta), _mm512_sub_ps(m, g), g);
        _mm512_storeu_ps(momentum + at, m);
        squares = _mm512_fmadd_ps(x, x, squares);
        return x;
      });
      const __m512 scale = _mm512_set1_ps(1 / (1.01f * std::sqrt(_mm512_reduce_add_ps(squares)) + 1e-7f));
      for (long at = 0; at < R * C; at += 16) store_bf16(ahead + at, _mm512_mul_ps(load_bf16(ahead + at), scale));
      orthogonalize(ahead, coefficients, steps);
      read_wide(ahead, R, C, [&](long at, __m512 update) {
        const __m512 kept = _mm512_mul_ps(_mm512_loadu_ps(parameter + at), _mm512_set1_ps(keep));
        _mm512_storeu_ps(parameter + at, _mm512_fnmadd_ps(update, _mm512_set1_ps(rate), kept));
      });
    }
  }
}

}  // extern "C"

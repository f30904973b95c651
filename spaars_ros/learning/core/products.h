// Copyright 2026 The spaars_ros authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//     http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.

// Products of small float32 matrices on one thread, for compiled updates (products.py).
//
// General libraries split large matrices into packed blocks. Those of an update (14 to 256 rows and
// columns) lie in the cache as they are: a block of C is kept in registers over all of K, and only
// what is transposed or narrow is packed. Part of a compiled update's source, in extern "C".
extern "C++" {
#include <cstdint>
#include <cstring>
#include <vector>

#pragma GCC push_options
#pragma GCC optimize("O3", "fp-contract=fast")

namespace spaars {

#if defined(__AVX512F__)
constexpr int LANES = 16, ROWS = 8, VECTORS = 2;
#elif defined(__AVX__)
constexpr int LANES = 8, ROWS = 6, VECTORS = 2;
#else
constexpr int LANES = 4, ROWS = 8, VECTORS = 2;
#endif
typedef float Vector __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t Places __attribute__((vector_size(4 * LANES)));

enum Then { NOTHING, BIAS, RELU, MASK };  // AB, AB + e, relu(AB + e), AB where e > 0

struct Matrix {
  float* at;
  int64_t row, column;  // strides
};

// A block of rows x (width * LANES) of C in registers; B is a packed or row-major panel.
template <int rows, int width>
static inline __attribute__((always_inline)) void block(
    int64_t depth, const Matrix a, const float* b, int64_t b_row, float* c, int64_t c_row,
    const float* e, int64_t e_row, Then then) {
  Vector sum[rows][width] = {};
  for (int64_t k = 0; k < depth; k++) {
    Vector right[width];
    for (int j = 0; j < width; j++) right[j] = *(const Vector*)(b + k * b_row + j * LANES);
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) {
      const Vector left = a.at[i * a.row + k * a.column] - Vector{};
      for (int j = 0; j < width; j++) sum[i][j] += left * right[j];
    }
  }
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < width; j++) {
      Vector value = sum[i][j];
      if (then != NOTHING) {
        const Vector other = *(const Vector*)(e + i * e_row + j * LANES);
        if (then == MASK) value = other > 0.0f ? value : Vector{};
        else value += other;
        if (then == RELU) value = value > 0.0f ? value : Vector{};
      }
      *(Vector*)(c + i * c_row + j * LANES) = value;
    }
}

template <int width>
static void panel(int64_t m, int64_t depth, Matrix a, const float* b, int64_t b_row, float* c,
                  int64_t c_row, const float* e, int64_t e_row, Then then) {
  int64_t i = 0;
  for (; i + ROWS <= m; i += ROWS) {
    block<ROWS, width>(depth, a, b, b_row, c, c_row, e, e_row, then);
    a.at += ROWS * a.row, c += ROWS * c_row, e += ROWS * e_row;
  }
  for (; i + 2 <= m; i += 2) {
    block<2, width>(depth, a, b, b_row, c, c_row, e, e_row, then);
    a.at += 2 * a.row, c += 2 * c_row, e += 2 * e_row;
  }
  if (i < m) block<1, width>(depth, a, b, b_row, c, c_row, e, e_row, then);
}

// LANES x LANES values of columns that lie apart -> rows that lie together.
static void transpose(const float* from, int64_t apart, float* to, int64_t to_row) {
  Vector rows[LANES];
  for (int i = 0; i < LANES; i++) rows[i] = *(const Vector*)(from + i * apart);
#pragma GCC unroll 4
  for (int step = 1; step < LANES; step *= 2) {
    Places low, high;
    for (int l = 0; l < LANES; l++) {
      low[l] = l & step ? LANES + (l ^ step) : l;
      high[l] = l & step ? LANES + l : l ^ step;
    }
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
      if (!(i & step)) {
        const Vector one = rows[i], other = rows[i + step];
        rows[i] = __builtin_shuffle(one, other, low);
        rows[i + step] = __builtin_shuffle(one, other, high);
      }
  }
  for (int i = 0; i < LANES; i++) *(Vector*)(to + i * to_row) = rows[i];
}

// `columns` columns of B as rows of `wide` values, zeros beyond them.
static void pack(const Matrix b, int64_t depth, int64_t columns, int64_t wide, float* to) {
  if (columns < wide) std::memset(to, 0, depth * wide * sizeof(float));
  int64_t whole = b.row == 1 ? depth - depth % LANES : 0;  // rows of B, by blocks
  int64_t blocks = columns - columns % LANES;
  for (int64_t k = 0; k < whole; k += LANES)
    for (int64_t j = 0; j < blocks; j += LANES)
      transpose(b.at + k + j * b.column, b.column, to + k * wide + j, wide);
  for (int64_t k = 0; k < depth; k++)
    for (int64_t j = k < whole ? blocks : 0; j < columns; j++)
      to[k * wide + j] = b.at[k * b.row + j * b.column];
}

template <int width>
static void columns_of(int64_t m, int64_t n, int64_t depth, Matrix a, Matrix b, float* c,
                       int64_t c_row, Matrix e, Then then, float* room) {
  constexpr int64_t wide = width * LANES;
  const int64_t columns = n < wide ? n : wide;
  const float* right = b.at;
  int64_t b_row = b.row;
  if (b.column != 1 || columns < wide) {
    pack(b, depth, columns, wide, room);
    right = room, b_row = wide;
    room += depth * wide;
  }
  if (columns == wide && (then == NOTHING || e.column == 1)) {
    panel<width>(m, depth, a, right, b_row, c, c_row, e.at, e.row, then);
    return;
  }
  float* beside = room + m * wide;
  if (then != NOTHING)
    for (int64_t i = 0; i < m; i++)
      for (int64_t j = 0; j < wide; j++)
        beside[i * wide + j] = j < columns ? e.at[i * e.row + j * e.column] : 0.0f;
  panel<width>(m, depth, a, right, b_row, room, wide, beside, wide, then);
  for (int64_t i = 0; i < m; i++)
    std::memcpy(c + i * c_row, room + i * wide, columns * sizeof(float));
}

static void product(int64_t m, int64_t n, int64_t depth, Matrix a, Matrix b, float* c, Matrix e,
                    Then then) {
  static thread_local std::vector<float> room;
  const size_t needed = (depth + 2 * m) * VECTORS * LANES;
  if (room.size() < needed) room.resize(needed);
  for (int64_t j = 0; j < n;) {
    const Matrix right = {b.at + j * b.column, b.row, b.column};
    const Matrix beside = {e.at + j * e.column, e.row, e.column};
    if (n - j > LANES) {
      columns_of<VECTORS>(m, n - j, depth, a, right, c + j, n, beside, then, room.data());
      j += VECTORS * LANES;
    } else {
      columns_of<1>(m, n - j, depth, a, right, c + j, n, beside, then, room.data());
      j += LANES;
    }
  }
}

struct Batched {
  Matrix matrix;
  int64_t sizes[2], count, apart;
};

// A tensor of two or three dimensions; a vector is one row for all.
static Batched of(AtenTensorHandle tensor) {
  int64_t dims, *sizes, *strides;
  void* data;
  aoti_torch_get_dim(tensor, &dims);
  aoti_torch_get_sizes(tensor, &sizes);
  aoti_torch_get_strides(tensor, &strides);
  aoti_torch_get_data_ptr(tensor, &data);
  Batched result;
  result.count = dims == 3 ? sizes[0] : 1;
  result.apart = dims == 3 ? strides[0] : 0;
  result.sizes[0] = dims == 1 ? 1 : sizes[dims - 2];
  result.sizes[1] = sizes[dims - 1];
  result.matrix = {(float*)data, result.sizes[0] == 1 ? 0 : strides[dims - 2], strides[dims - 1]};
  return result;
}

static AOTITorchError products(AtenTensorHandle left, AtenTensorHandle right,
                               AtenTensorHandle extra, Then then, AtenTensorHandle* result) {
  const Batched a = of(left), b = of(right), e = extra ? of(extra) : Batched{};
  const int64_t m = a.sizes[0], n = b.sizes[1];
  int64_t dims;
  aoti_torch_get_dim(left, &dims);
  const int64_t sizes[] = {a.count, m, n}, strides[] = {m * n, n, 1};
  const AOTITorchError error = aoti_torch_empty_strided(
      dims, sizes + 3 - dims, strides + 3 - dims, aoti_torch_dtype_float32(),
      aoti_torch_device_type_cpu(), 0, result);
  if (error != AOTI_TORCH_SUCCESS) return error;
  void* data;
  aoti_torch_get_data_ptr(*result, &data);
  for (int64_t i = 0; i < a.count; i++) {
    const Matrix one = {a.matrix.at + i * a.apart, a.matrix.row, a.matrix.column};
    const Matrix two = {b.matrix.at + i * b.apart, b.matrix.row, b.matrix.column};
    const Matrix beside = {e.matrix.at + i * e.apart, e.matrix.row, e.matrix.column};
    product(m, n, a.sizes[1], one, two, (float*)data + i * m * n, beside, then);
  }
  return AOTI_TORCH_SUCCESS;
}

}  // namespace spaars

#pragma GCC pop_options
}

AOTITorchError aoti_torch_cpu_product(AtenTensorHandle a, AtenTensorHandle b,
                                      AtenTensorHandle* result) {
  return spaars::products(a, b, nullptr, spaars::NOTHING, result);
}

AOTITorchError aoti_torch_cpu_product_bias(AtenTensorHandle a, AtenTensorHandle b,
                                           AtenTensorHandle bias, AtenTensorHandle* result) {
  return spaars::products(a, b, bias, spaars::BIAS, result);
}

AOTITorchError aoti_torch_cpu_product_relu(AtenTensorHandle a, AtenTensorHandle b,
                                           AtenTensorHandle bias, AtenTensorHandle* result) {
  return spaars::products(a, b, bias, spaars::RELU, result);
}

AOTITorchError aoti_torch_cpu_product_mask(AtenTensorHandle a, AtenTensorHandle b,
                                           AtenTensorHandle mask, AtenTensorHandle* result) {
  return spaars::products(a, b, mask, spaars::MASK, result);
}

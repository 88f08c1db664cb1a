// A picture to the pictures of all rungs, in one pass: each block reads a tile of it once into
// shared memory and makes from it those pixels of every rung whose centres lie in the tile.
//
// Scaled by two passes of bytes by bytes in whole numbers (taps.py makes the weights), so that a
// processor gives the same bits. Nothing is rounded between the passes.

#include "pixels.cuh"

constexpr int MOST_RUNGS = 8;  // as in rungs.py
constexpr int THREADS = 256;   // as in rungs.py
constexpr int UNIT = 127;      // sum of the weights of one pixel, as in taps.py

// Filter of one axis. A pixel reads 4 * `words` source pixels, from a multiple of 4 on.
struct Taps {
    const int* start;    // [target]
    const int* weights;  // [target][words], four signed bytes each
    int source, target;
    int words;
    int unused;
};

struct Rung {
    Taps x, y, chroma_x, chroma_y;  // `words` are 0 where the rung has the picture's own size
    Picture picture[MOST_PICTURES];
    int planar;  // I420; otherwise NV12
    int unused;
};

struct RungsJob {
    Picture picture[MOST_PICTURES];
    Rung rung[MOST_RUNGS];
    int rungs;
    int width, height;            // of the picture; an odd side gets its last pixels again
    int tile_columns, tile_rows;  // of luma, multiples of 8; of chroma half as many columns
    int halo_x, halo_y;           // how far beyond its tile a pixel reads, multiples of 4
    int middle_rows;              // distance of columns between the passes, a multiple of 4
};

// The first target pixel whose centre does not lie before source pixel `x`.
__device__ inline int first_at(int x, const Taps& taps) {
    int twice = 2 * x * taps.target - taps.source;
    return twice <= 0 ? 0 : min((twice + 2 * taps.source - 1) / (2 * taps.source), taps.target);
}

__device__ inline int pair(int low, int high) {
    return (int)(((unsigned)low & 0xffff) | (unsigned)high << 16);
}

// A sum over both passes of weighted pixels less 128, back to a pixel.
__device__ inline unsigned pixel_of(int sum) {
    int positive = max(sum + 128 * UNIT * UNIT + UNIT * UNIT / 2, 0);
    return min((unsigned)positive / (UNIT * UNIT), 255u);
}

// Cells of a table with `columns`, row by row, dealt out to the threads of a block. Divides once,
// not in every turn: GPUs have no instruction for it.
struct Cells {
    int columns, step_x, step_y, x, y;

    __device__ explicit Cells(int columns)
        : columns(columns),
          step_x(THREADS % columns),
          step_y(THREADS / columns),
          x(threadIdx.x % columns),
          y(threadIdx.x / columns) {}

    __device__ void next() {
        x += step_x;
        y += step_y;
        if (x >= columns) x -= columns, ++y;
    }
};

// What comes from one tile: of luma (`COUNT` 1), or of u and v together (2).
template <class Part, int COUNT>
struct Tile {
    const RungsJob& job;
    Part part[COUNT];
    int x, y;          // where it begins
    unsigned* staged;  // [COUNT][staged_rows][staged_words], pixels less 128
    short* middle;     // [COUNT][columns of the rung's part][middle_rows]

    __device__ int width() const { return job.tile_columns / COUNT; }
    __device__ int staged_words() const { return (width() + 2 * job.halo_x) / 4; }
    __device__ int staged_rows() const { return job.tile_rows + 2 * job.halo_y; }

    __device__ void stage() {
        int words = staged_words(), rows = staged_rows();
        for (Cells at(words); at.y < rows; at.next())
            for (int c = 0; c < COUNT; ++c) {
                unsigned four = part[c].four(x - job.halo_x + 4 * at.x, y - job.halo_y + at.y);
                staged[(c * rows + at.y) * words + at.x] = four ^ 0x80808080u;
            }
    }

    __device__ void copy(const Rung& rung, int columns, int rows) {
        int words = staged_words(), inside = job.halo_y * words + job.halo_x / 4;
        int last = min(job.tile_rows, rows - y);
        for (Cells at(width() / 4); at.y < last; at.next()) {
            unsigned word[COUNT];
            for (int c = 0; c < COUNT; ++c) {
                int from = inside + (c * staged_rows() + at.y) * words + at.x;
                word[c] = staged[from] ^ 0x80808080u;
            }
            put_four(rung, y + at.y, x + 4 * at.x, columns, word);
        }
    }

    __device__ static void put_four(const Rung& rung, int row, int x, int columns,
                                    const unsigned* word) {
        const Picture& out = rung.picture[blockIdx.z];
        if constexpr (COUNT == 1) {
            put(out.y + (size_t)row * out.pitch, x, columns, word[0]);
        } else if (rung.planar) {
            put(out.u + (size_t)row * out.chroma_pitch, x, columns, word[0]);
            put(out.v + (size_t)row * out.chroma_pitch, x, columns, word[1]);
        } else {
            unsigned char* pairs = out.u + (size_t)row * out.chroma_pitch;
            put(pairs, 2 * x, 2 * columns, __byte_perm(word[0], word[1], 0x5140));
            put(pairs, 2 * x + 4, 2 * columns, __byte_perm(word[0], word[1], 0x7362));
        }
    }

    __device__ void across(const Taps& taps, int left, int right, int top, int bottom) {
        int words = staged_words(), columns = right - left, fours = (bottom - top) / 4;
        for (Cells at(columns); at.y < COUNT * fours; at.next()) {
            int c = at.y >= fours, row = top - (y - job.halo_y) + 4 * (at.y - c * fours);
            int offset = (taps.start[left + at.x] - (x - job.halo_x)) / 4;
            const unsigned* from = staged + (c * staged_rows() + row) * words + offset;
            const int* weights = taps.weights + (left + at.x) * taps.words;
            int sum[4] = {0, 0, 0, 0};
            for (int k = 0; k < taps.words; ++k)
                for (int r = 0; r < 4; ++r)
                    sum[r] = __dp4a((int)from[r * words + k], weights[k], sum[r]);
            short* to = middle + (c * columns + at.x) * job.middle_rows + row;
            *(int2*)to = make_int2(pair(sum[0], sum[1]), pair(sum[2], sum[3]));
        }
    }

    __device__ void down(const Rung& rung, const Taps& taps, int left, int right, int top,
                         int bottom) {
        int columns = right - left;
        for (Cells at(columns); at.y < bottom - top; at.next()) {
            int row = top + at.y, from = taps.start[row] - (y - job.halo_y);
            const int* weights = taps.weights + row * taps.words;
            unsigned pixel[COUNT];
            for (int c = 0; c < COUNT; ++c) {
                const short* fours = middle + (c * columns + at.x) * job.middle_rows + from;
                int sum = 0;
                for (int k = 0; k < taps.words; ++k) {
                    int2 four = *(const int2*)(fours + 4 * k);
                    sum = __dp2a_lo(four.x, weights[k], sum);
                    sum = __dp2a_hi(four.y, weights[k], sum);
                }
                pixel[c] = pixel_of(sum);
            }
            put_one(rung, row, left + at.x, pixel);
        }
    }

    __device__ static void put_one(const Rung& rung, int row, int x, const unsigned* pixel) {
        const Picture& out = rung.picture[blockIdx.z];
        if constexpr (COUNT == 1) {
            out.y[(size_t)row * out.pitch + x] = pixel[0];
        } else if (rung.planar) {
            out.u[(size_t)row * out.chroma_pitch + x] = pixel[0];
            out.v[(size_t)row * out.chroma_pitch + x] = pixel[1];
        } else {
            unsigned short* pairs = (unsigned short*)(out.u + (size_t)row * out.chroma_pitch);
            pairs[x] = pixel[0] | pixel[1] << 8;
        }
    }

    __device__ void scale(const Rung& rung, const Taps& across_by, const Taps& down_by) {
        int left = first_at(x, across_by), right = first_at(x + width(), across_by);
        int top = first_at(y, down_by), bottom = first_at(y + job.tile_rows, down_by);
        if (left == right || top == bottom) return;  // the whole block does
        int last = down_by.start[bottom - 1] + 4 * down_by.words;
        across(across_by, left, right, down_by.start[top], last);
        __syncthreads();
        down(rung, down_by, left, right, top, bottom);
        __syncthreads();
    }

    __device__ void run() {
        stage();
        __syncthreads();
        for (int k = 0; k < job.rungs; ++k) {
            const Rung& rung = job.rung[k];
            const Taps& across_by = COUNT == 1 ? rung.x : rung.chroma_x;
            const Taps& down_by = COUNT == 1 ? rung.y : rung.chroma_y;
            if (across_by.words == 0) copy(rung, across_by.target, down_by.target);
            else scale(rung, across_by, down_by);
        }
    }
};

// The grid's rows are those of luma's tiles, then those of chroma's.
template <class Layout>
__device__ inline void split(const RungsJob& job) {
    extern __shared__ int2 shared[];
    const Picture& from = job.picture[blockIdx.z];
    int luma_tiles = (job.height + job.tile_rows - 1) / job.tile_rows;
    int x = blockIdx.x * job.tile_columns, y = blockIdx.y * job.tile_rows;
    unsigned* staged = (unsigned*)shared;
    if ((int)blockIdx.y < luma_tiles) {
        auto luma = luma_of<Layout>(from, job.width, job.height);
        Tile<Luma<Layout>, 1> tile{job, {luma}, x, y, staged, 0};
        tile.middle = (short*)(shared + (tile.staged_rows() * tile.staged_words() + 1) / 2);
        tile.run();
    } else {
        auto u = chroma_of<Layout>(from, 0, job.width, job.height);
        auto v = chroma_of<Layout>(from, 1, job.width, job.height);
        y -= luma_tiles * job.tile_rows;
        Tile<Chroma<Layout>, 2> tile{job, {u, v}, x / 2, y, staged, 0};
        tile.middle = (short*)(shared + tile.staged_rows() * tile.staged_words());
        tile.run();
    }
}

#define KERNEL(name, Layout) \
    extern "C" __global__ void name(const __grid_constant__ RungsJob job) { split<Layout>(job); }

KERNEL(i420_to_rungs, I420)
KERNEL(nv12_to_rungs, NV12)
KERNEL(p010_to_rungs, P010)
KERNEL(halves_to_rungs, Halves)

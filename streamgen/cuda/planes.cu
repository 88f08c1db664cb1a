// A picture to the planes that networks take: y, u and v, of bytes or of halves.
//
// Planes are as large as the network wants them: beyond the picture its last column and row repeat.
// A thread moves 4 x 4 pixels of one plane, or of u and v.

#include "pixels.cuh"

constexpr int ROWS = 4;  // as in planes.py

struct PlanesJob {
    Picture from[MOST_PICTURES];
    Picture to[MOST_PICTURES];
    int width, height;  // of the picture
    int columns, rows;  // of the luma plane that is written, even
};

template <class Sample, class Part>
__device__ inline void move(const Part& part, unsigned char* to, int pitch, int columns, int rows,
                            int y) {
    int x = 4 * (blockIdx.x * blockDim.x + threadIdx.x);
    if (x >= columns) return;
    unsigned word[ROWS];
    for (int i = 0; i < ROWS; ++i) word[i] = part.four(x, y + i);
    for (int i = 0; i < ROWS && y + i < rows; ++i)
        put((Sample*)(to + (size_t)(y + i) * pitch), x, columns, word[i]);
}

// The grid's rows are those of luma, then those of chroma.
template <class Layout, class Sample>
__device__ inline void split(const PlanesJob& job) {
    const Picture& from = job.from[blockIdx.z];
    const Picture& to = job.to[blockIdx.z];
    int block_rows = ROWS * blockDim.y, luma_blocks = (job.rows + block_rows - 1) / block_rows;
    int y = blockIdx.y * block_rows + ROWS * threadIdx.y;
    if ((int)blockIdx.y < luma_blocks) {
        auto luma = luma_of<Layout>(from, job.width, job.height);
        move<Sample>(luma, to.y, to.pitch, job.columns, job.rows, y);
    } else {
        y -= luma_blocks * block_rows;
        int columns = job.columns / 2, rows = job.rows / 2;
        auto u = chroma_of<Layout>(from, 0, job.width, job.height);
        auto v = chroma_of<Layout>(from, 1, job.width, job.height);
        move<Sample>(u, to.u, to.chroma_pitch, columns, rows, y);
        move<Sample>(v, to.v, to.chroma_pitch, columns, rows, y);
    }
}

#define KERNEL(name, Layout, Sample) \
    extern "C" __global__ void name(const __grid_constant__ PlanesJob job) { \
        split<Layout, Sample>(job); \
    }

KERNEL(i420_to_bytes, I420, unsigned char)
KERNEL(nv12_to_bytes, NV12, unsigned char)
KERNEL(p010_to_bytes, P010, unsigned char)
KERNEL(i420_to_halves, I420, Half)
KERNEL(nv12_to_halves, NV12, Half)
KERNEL(p010_to_halves, P010, Half)

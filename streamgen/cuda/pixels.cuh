// Pictures in device memory, and samples on their way in and out. For planes.cu and rungs.cu.

#pragma once

constexpr int MOST_PICTURES = 8;  // of one launch; as in launch.py

// Where the planes of a picture begin, and their rows' distance in bytes. Where u and v are
// interleaved, they begin at `u`.
struct Picture {
    unsigned char* y;
    unsigned char* u;
    unsigned char* v;
    int pitch, chroma_pitch;
};

// Ten bits in the upper ones of two bytes (P010), and IEEE half precision.
struct TenBits { unsigned short bits; };
struct Half { unsigned short bits; };

struct I420 { using Sample = unsigned char; static constexpr bool interleaved = false; };
struct NV12 { using Sample = unsigned char; static constexpr bool interleaved = true; };
struct P010 { using Sample = TenBits; static constexpr bool interleaved = true; };
struct Halves { using Sample = Half; static constexpr bool interleaved = false; };

__device__ inline unsigned byte_of(unsigned char sample) { return sample; }

__device__ inline unsigned byte_of(TenBits sample) {
    return min((sample.bits + 0x80u) >> 8, 255u);
}

// What a network gives need not be whole: 0 to 255, half to even as ONNX's Round.
__device__ inline unsigned byte_of(Half sample) {
    unsigned sign = (sample.bits & 0x8000u) << 16;
    float value = __uint_as_float(sign | (((sample.bits & 0x7fffu) << 13) + (112u << 23)));
    value = fminf(fmaxf(value, 0.0f), 255.0f);
    return __float_as_uint(value + 8388608.0f) & 0xff;
}

// A whole number below 256 is exact in half precision; by additions, which are faster than a
// conversion.
__device__ inline unsigned half_of(unsigned byte) {
    int bits = (int)__float_as_uint(__uint_as_float(0x4b000000u | byte) - 8388608.0f);
    return (unsigned)max((bits >> 13) - (112 << 10), 0);
}

template <class Sample>
__device__ inline unsigned bytes_of(unsigned a, unsigned b, unsigned c, unsigned d) {
    return byte_of(Sample{(unsigned short)a}) | byte_of(Sample{(unsigned short)b}) << 8 |
           byte_of(Sample{(unsigned short)c}) << 16 | byte_of(Sample{(unsigned short)d}) << 24;
}

__device__ inline bool aligned(const void* address, unsigned bytes) {
    return ((unsigned long long)address & (bytes - 1)) == 0;
}

// One of y, u or v; every `STEP`th sample from `offset` on.
template <class Sample, int STEP>
struct Component {
    const unsigned char* first;
    int pitch, offset, columns, rows;

    // Four pixels of a row as bytes. Beyond the edges its first and last ones repeat: spare bytes
    // are never read as pixels.
    __device__ unsigned four(int x, int y) const {
        const Sample* row = (const Sample*)(first + (size_t)min(max(y, 0), rows - 1) * pitch);
        const Sample* from = row + x * STEP;
        if (x >= 0 && x + 4 <= columns && aligned(from, 4 * STEP * sizeof(Sample)))
            return inside(from);
        unsigned word = 0;
#pragma unroll 1  // rare: at edges, or where rows lie at odd addresses
        for (int i = 0; i < 4; ++i)
            word |= byte_of(row[min(max(x + i, 0), columns - 1) * STEP + offset]) << 8 * i;
        return word;
    }

    __device__ unsigned inside(const Sample* from) const {
        if constexpr (sizeof(Sample) == 1 && STEP == 1) {
            return *(const unsigned*)from;
        } else if constexpr (sizeof(Sample) == 1) {
            uint2 pairs = *(const uint2*)from;
            return __byte_perm(pairs.x, pairs.y, offset ? 0x7531 : 0x6420);
        } else if constexpr (STEP == 1) {
            uint2 four = *(const uint2*)from;
            return bytes_of<Sample>(four.x, four.x >> 16, four.y, four.y >> 16);
        } else {
            uint4 pairs = *(const uint4*)from;
            int shift = 16 * offset;
            return bytes_of<Sample>(pairs.x >> shift, pairs.y >> shift, pairs.z >> shift,
                                    pairs.w >> shift);
        }
    }
};

template <class Layout>
using Luma = Component<typename Layout::Sample, 1>;

template <class Layout>
using Chroma = Component<typename Layout::Sample, Layout::interleaved ? 2 : 1>;

template <class Layout>
__device__ inline Luma<Layout> luma_of(const Picture& picture, int width, int height) {
    return {picture.y, picture.pitch, 0, width, height};
}

// `which`: 0 for u, 1 for v. Odd sides are rounded up.
template <class Layout>
__device__ inline Chroma<Layout> chroma_of(const Picture& picture, int which, int width,
                                           int height) {
    const unsigned char* first = Layout::interleaved || which == 0 ? picture.u : picture.v;
    int offset = Layout::interleaved ? which : 0;
    return {first, picture.chroma_pitch, offset, (width + 1) / 2, (height + 1) / 2};
}

__device__ inline void store(unsigned char* four, unsigned word) { *(unsigned*)four = word; }

__device__ inline void store(Half* four, unsigned word) {
    unsigned low = half_of(word & 0xff) | half_of(word >> 8 & 0xff) << 16;
    unsigned high = half_of(word >> 16 & 0xff) | half_of(word >> 24) << 16;
    *(uint2*)four = make_uint2(low, high);
}

__device__ inline void set(unsigned char* sample, unsigned byte) { *sample = byte; }

__device__ inline void set(Half* sample, unsigned byte) {
    sample->bits = (unsigned short)half_of(byte);
}

// Four pixels into a row of `columns`, fewer at its end.
template <class Sample>
__device__ inline void put(Sample* row, int x, int columns, unsigned word) {
    if (x + 4 <= columns && aligned(row + x, 4 * sizeof(Sample))) return store(row + x, word);
#pragma unroll 1
    for (int i = 0; i < 4 && x + i < columns; ++i) set(row + x + i, word >> 8 * i & 0xff);
}

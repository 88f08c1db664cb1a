// The kernels of streamgen/cuda as functions of a processor, from the same sources: what of CUDA they
// use, a block's threads in turn, and memory with a fence around it.

#include <csetjmp>
#include <csignal>
#include <cmath>
#include <cstring>
#include <sys/mman.h>
#include <ucontext.h>
#include <vector>

#define __device__
#define __global__
#define __grid_constant__
#define __shared__

struct dim3 { unsigned x, y, z; };
struct int2 { int x, y; };
struct uint2 { unsigned x, y; };
struct uint4 { unsigned x, y, z, w; };

static int2 make_int2(int x, int y) { return {x, y}; }
static uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }

static dim3 blockIdx, threadIdx, blockDim;

static int min(int a, int b) { return a < b ? a : b; }
static int max(int a, int b) { return a > b ? a : b; }
static unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }

template <class To, class From>
static To same_bits(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    memcpy(&to, &from, sizeof(to));
    return to;
}

static float __uint_as_float(unsigned bits) { return same_bits<float>(bits); }
static unsigned __float_as_uint(float value) { return same_bits<unsigned>(value); }

static int byte_at(int word, int n) { return (signed char)((unsigned)word >> 8 * n & 0xff); }
static int short_at(int word, int n) { return (short)((unsigned)word >> 16 * n & 0xffff); }

static unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
    unsigned long long both = a | (unsigned long long)b << 32;
    unsigned made = 0;
    for (int i = 0; i < 4; ++i)
        made |= (unsigned)(both >> 8 * (selector >> 4 * i & 7) & 0xff) << 8 * i;
    return made;
}

static int __dp4a(int a, int b, int sum) {
    for (int i = 0; i < 4; ++i) sum += byte_at(a, i) * byte_at(b, i);
    return sum;
}

static int __dp2a_lo(int a, int b, int sum) {
    return sum + short_at(a, 0) * byte_at(b, 0) + short_at(a, 1) * byte_at(b, 1);
}

static int __dp2a_hi(int a, int b, int sum) {
    return sum + short_at(a, 0) * byte_at(b, 2) + short_at(a, 1) * byte_at(b, 3);
}

// Threads of a block take turns; each goes on until it waits for the others, or ends.
enum State { RUNS, WAITS, ENDED };

static constexpr size_t STACK = 64 * 1024, SHARED = 48 * 1024;
static int2 shared[SHARED / sizeof(int2)];
static ucontext_t block_context, *thread_context;
static State state;
static void (*body)(const void*);
static const void* body_job;

static void __syncthreads() {
    state = WAITS;
    swapcontext(thread_context, &block_context);
}

static void thread_main() {
    body(body_job);
    state = ENDED;
    swapcontext(thread_context, &block_context);
}

#include "planes.cu"
#undef KERNEL
#include "rungs.cu"

struct Kernel {
    const char* name;
    size_t job_size;
    void (*run)(const void*);
};

#define ENTRY(name, Job) {#name, sizeof(Job), [](const void* job) { name(*(const Job*)job); }}

static const Kernel kernels[] = {
    ENTRY(i420_to_bytes, PlanesJob),  ENTRY(nv12_to_bytes, PlanesJob),
    ENTRY(p010_to_bytes, PlanesJob),  ENTRY(i420_to_halves, PlanesJob),
    ENTRY(nv12_to_halves, PlanesJob), ENTRY(p010_to_halves, PlanesJob),
    ENTRY(i420_to_rungs, RungsJob),   ENTRY(nv12_to_rungs, RungsJob),
    ENTRY(p010_to_rungs, RungsJob),   ENTRY(halves_to_rungs, RungsJob),
};

static const Kernel* find(const char* name) {
    for (const Kernel& kernel : kernels)
        if (!strcmp(kernel.name, name)) return &kernel;
    return nullptr;
}

static const char* run_block(size_t shared_bytes) {
    static std::vector<char> stacks;
    size_t threads = blockDim.x * blockDim.y;
    std::vector<ucontext_t> contexts(threads);
    std::vector<State> states(threads, RUNS);
    stacks.resize(threads * STACK);
    memset(shared, 0x5a, SHARED);
    for (size_t t = 0; t < threads; ++t) {
        getcontext(&contexts[t]);
        contexts[t].uc_stack.ss_sp = stacks.data() + t * STACK;
        contexts[t].uc_stack.ss_size = STACK;
        contexts[t].uc_link = nullptr;
        makecontext(&contexts[t], thread_main, 0);
    }
    for (size_t ended = 0; ended < threads;) {
        size_t waiting = 0;
        for (size_t t = 0; t < threads; ++t) {
            if (states[t] == ENDED) continue;
            threadIdx = {(unsigned)t % blockDim.x, (unsigned)t / blockDim.x, 0};
            thread_context = &contexts[t];
            state = RUNS;
            swapcontext(&block_context, thread_context);
            states[t] = state;
            state == ENDED ? ++ended : ++waiting;
        }
        if (waiting && ended) return "some threads of a block wait for others that have ended";
    }
    for (size_t i = shared_bytes; i < SHARED; ++i)
        if (((const unsigned char*)shared)[i] != 0x5a) return "wrote beyond its shared memory";
    return nullptr;
}

static sigjmp_buf outside;
static void touched(int) { siglongjmp(outside, 1); }

extern "C" {

// Returns what went wrong, or null.
const char* launch(const char* name, const unsigned* grid, const unsigned* block,
                   unsigned shared_bytes, const void* job) {
    const Kernel* kernel = find(name);
    if (!kernel) return "there is no such kernel";
    struct sigaction mine = {}, before;
    mine.sa_handler = touched;
    sigaction(SIGSEGV, &mine, &before);
    const char* volatile failed = nullptr;
    if (sigsetjmp(outside, 1)) {
        failed = "touched memory that it was not given";
    } else {
        body = kernel->run;
        body_job = job;
        blockDim = {block[0], block[1], block[2]};
        for (unsigned z = 0; z < grid[2]; ++z)
            for (unsigned y = 0; y < grid[1]; ++y)
                for (unsigned x = 0; x < grid[0] && !failed; ++x) {
                    blockIdx = {x, y, z};
                    failed = run_block(shared_bytes);
                }
    }
    sigaction(SIGSEGV, &before, nullptr);
    return failed;
}

size_t job_size(const char* name) { return find(name) ? find(name)->job_size : 0; }

// Memory that ends where nobody may read or write, for as long as the process lives.
void* fenced(size_t size) {
    size_t page = 4096, pages = (size + page - 1) / page;
    void* all = mmap(nullptr, (pages + 1) * page, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED) return nullptr;
    mprotect((char*)all + pages * page, page, PROT_NONE);
    return (char*)all + pages * page - size;
}

void release(void* memory, size_t size) {
    size_t page = 4096, pages = (size + page - 1) / page;
    munmap((char*)memory + size - pages * page, (pages + 1) * page);
}

}  // extern "C"

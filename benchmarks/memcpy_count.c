/* Counts memcpy and memmove by size, from outside: LD_PRELOAD this, and at exit the file named by
 * MEMCPY_COUNT gets one line "size calls" for every size from 256 bytes to 16 MiB that occurred.
 *
 *   cc -O2 -fno-builtin -shared -fPIC -o memcpy_count.so memcpy_count.c
 *
 * Calls are counted, not copies inside a codec's own assembly: what is left are the copies that a
 * program or a library makes of whole planes or of rows.
 */
#define _GNU_SOURCE
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#define SMALLEST 256
#define SLOTS 65536

static atomic_ulong sizes[SLOTS], calls[SLOTS];

static void count(size_t n) {
    if (n < SMALLEST || n > (16u << 20)) return;
    for (unsigned slot = (unsigned)(n * 2654435761u) % SLOTS, tries = 0; tries < 64;
         slot = (slot + 1) % SLOTS, tries++) {
        unsigned long seen = atomic_load(&sizes[slot]);
        if (seen == 0 && !atomic_compare_exchange_strong(&sizes[slot], &seen, n)) { /* lost race */ }
        if (atomic_load(&sizes[slot]) == n) {
            atomic_fetch_add(&calls[slot], 1);
            return;
        }
    }
}

/* Plain loops: calling the real one needs dlsym, which itself copies before it is resolved. */
static void *forward(void *to, const void *from, size_t n) {
    void *result = to;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
    return result;
}

void *memcpy(void *restrict to, const void *restrict from, size_t n) {
    count(n);
    return forward(to, from, n);
}

void *__memcpy_chk(void *to, const void *from, size_t n, size_t room) {
    if (n > room) abort();
    return memcpy(to, from, n);
}

void *memmove(void *to, const void *from, size_t n) {
    count(n);
    if ((char *)to <= (const char *)from || (char *)to >= (const char *)from + n)
        return forward(to, from, n);
    char *end = (char *)to + n - 1;
    const char *last = (const char *)from + n - 1;
    __asm__ volatile("std; rep movsb; cld" : "+D"(end), "+S"(last), "+c"(n) : : "memory");
    return to;
}

void *__memmove_chk(void *to, const void *from, size_t n, size_t room) {
    if (n > room) abort();
    return memmove(to, from, n);
}

__attribute__((destructor)) static void report(void) {
    const char *path = getenv("MEMCPY_COUNT");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (!file) return;
    for (unsigned slot = 0; slot < SLOTS; slot++)
        if (sizes[slot]) fprintf(file, "%lu %lu\n", sizes[slot], calls[slot]);
    fclose(file);
}

/* Preloaded into a Python process: how often a thread asked for memory, and a lever that lets it run out.  For glibc.  No test. */
#include <errno.h>
#include <stddef.h>

void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t), *__libc_memalign(size_t, size_t);

static _Thread_local long count;
static _Thread_local long granted = -1; /* so many aligned blocks more; -1: all */

long asked(void) { return count; }
void grant(long blocks) { granted = blocks; }

void *malloc(size_t n) { return count++, __libc_malloc(n); }
void *calloc(size_t n, size_t each) { return count++, __libc_calloc(n, each); }
void *realloc(void *p, size_t n) { return count++, __libc_realloc(p, n); }
void *aligned_alloc(size_t align, size_t n) {
  count++;
  if (granted == 0) return NULL;
  if (granted > 0) granted--;
  return __libc_memalign(align, n);
}
void *memalign(size_t align, size_t n) { return count++, __libc_memalign(align, n); }
int posix_memalign(void **p, size_t align, size_t n) {
  count++;
  *p = __libc_memalign(align, n);
  return *p ? 0 : ENOMEM;
}

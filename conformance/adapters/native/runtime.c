/*
 * runtime.c: answers in place of ThreadSanitizer's library.
 *
 * A prepared parent reads questions, one line each: a routine, its arguments, `;`, the results of its operations so
 * far. For each it forks a child that runs the routine from its start, gives every operation its recorded result, and
 * answers with the first operation that has none, or with the Return. So static data are clean, addresses constant, and
 * a crash costs nothing.
 *
 *     parent --question--> child: routine --hook--> result recorded? go on : answer, end
 *        ^------------------answer in a shared page-----------------------------'
 *
 * A load: the recorded value is put into memory, then the program's own load finds it there. A plain store: its value
 * is known only after the program's own store, so it is an operation at the next hook. An atomic is done here.
 */
#define _GNU_SOURCE
#include "intack.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/personality.h>
#include <sys/prctl.h>
#endif

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the bytes of a word are counted from its low end");

/* ---- declarations of the program --------------------------------------------------------------------------------- */

struct word { /* one location: up to 8 bytes of a shared object */
    uintptr_t at;
    size_t bytes;
    const char *name;
    uint64_t known; /* what hooks and answers left there */
};

struct named {
    const void *at;
    const char *name;
};

struct routine {
    const char *name;
    void (*run)(void);
};

enum { WORDS = 4096, OBJECTS = 1024, ROUTINES = 256, SITES = 4096, ANSWER = 1 << 16 };

static struct word word[WORDS]; /* by address */
static struct named named[OBJECTS], list[OBJECTS];
static struct routine routine[ROUTINES];
static size_t words, names, lists, routines;

/* ---- the run of one child ---------------------------------------------------------------------------------------- */

struct token { /* of a question */
    enum kind { NONE, BOOL, INTEGER, STRING, OPEN, CLOSE, SEPARATOR } kind;
    uint64_t number;
    const char *text;
};

struct store { /* a plain store whose value is not known yet */
    uintptr_t at;
    size_t size;
    const char *order;
    bool copy; /* the next hook belongs to the same copy: see enum manner */
};

static struct {
    bool on;   /* between the call of a routine and its return */
    bool twin; /* a fork that only finds out what the pending store does */
    unsigned long operations;
    struct token *argument, *next, *end;
    struct store pending;
    char then[1024], value[32];
} run;

/* How the code behind a write hook writes. The hook tells only address and size, so it is found out, once a place. */
enum manner {
    UNKNOWN,
    PLAIN,  /* all bytes, right after the hook */
    KEEPS,  /* keeps neighbours (a bit-field) or builds on the old value: it loads, too, and no hook says so */
    COPIES, /* memory to memory: the hook of its read comes after the hook of its write */
};

static struct page { /* shared by parent and children */
    size_t length;   /* of the answer; 0 if there is none */
    char answer[ANSWER];
    bool seen;       /* a twin has left the value it saw */
    uint64_t value;
    size_t sites;
    struct {
        const void *at;
        enum manner manner;
    } site[SITES];
} *page;

static unsigned long limit_ms = 5000;

/* ---- answers ----------------------------------------------------------------------------------------------------- */

static int failure(char *to, size_t room, const char *kind, const char *what)
{
    size_t n = (size_t)snprintf(to, room, "{\"op\":\"error\",\"kind\":\"%s\",\"what\":\"", kind);
    for (; *what && n < room - 4; what++) {
        if (*what == '"' || *what == '\\')
            to[n++] = '\\';
        to[n++] = *what < ' ' || *what > '~' ? ' ' : *what;
    }
    to[n++] = '"';
    to[n++] = '}';
    return (int)n;
}

_Noreturn static void publish(int length)
{
    if (length <= 0 || length >= ANSWER)
        length = failure(page->answer, ANSWER, "refused", "its answer is too long");
    if (!run.twin)
        page->length = (size_t)length;
    _exit(0);
}

static void settle(void);
static void look_for_strays(void);

_Noreturn void intack_fail(const char *format, ...)
{
    char what[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    if (run.on) {
        settle();
        publish(failure(page->answer, ANSWER, "refused", what));
    }
    fprintf(stderr, "intack: %s\n", what);
    exit(2);
}

/* The result of the next operation. If none is recorded, the operation itself, as JSON, is the answer. */
INTACK_PRINTF(2, 3) static const struct token *perform(enum kind kind, const char *format, ...)
{
    static const char *const called[] = {"None", "a bool", "an integer", "a string", "a tuple", "a tuple's end", ";"};
    va_list arguments;

    if (!run.on)
        intack_fail("an operation outside of a routine (%s)", format);
    settle();
    look_for_strays();
    if (run.next < run.end) {
        const struct token *result = run.next++;
        if (result->kind != kind) {
            char operation[512];
            va_start(arguments, format);
            vsnprintf(operation, sizeof operation, format, arguments);
            va_end(arguments);
            intack_fail("result %lu is %s, but the operation it answers is %s", run.operations, called[result->kind],
                        operation);
        }
        for (unsigned depth = kind == OPEN; depth && run.next < run.end; run.next++)
            depth += (run.next->kind == OPEN) - (run.next->kind == CLOSE);
        run.operations++;
        return result;
    }
    va_start(arguments, format);
    int length = vsnprintf(page->answer, ANSWER, format, arguments);
    va_end(arguments);
    publish(length);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

/* The bits of a word that these bytes cover; 0 if none. */
static uint64_t overlap(const struct word *w, uintptr_t at, size_t size)
{
    uintptr_t low = at > w->at ? at : w->at;
    uintptr_t high = at + size < w->at + w->bytes ? at + size : w->at + w->bytes;
    if (low >= high)
        return 0;
    return (high - low == 8 ? ~0ull : (1ull << 8 * (high - low)) - 1) << 8 * (low - w->at);
}

#define EACH_WORD(w, mask, at, size) \
    for (struct word *w = word; w < word + words; w++) \
        for (uint64_t mask = overlap(w, at, size); mask; mask = 0)

static bool shared(const volatile void *at, size_t size)
{
    EACH_WORD(w, mask, (uintptr_t)at, size)
        return true;
    return false;
}

static uint64_t peek(const struct word *w, uint64_t mask)
{
    uint64_t bits = 0;
    memcpy(&bits, (const void *)w->at, w->bytes);
    return bits & mask;
}

static void poke(struct word *w, uint64_t mask, uint64_t bits)
{
    w->known = peek(w, ~mask) | (bits & mask);
    memcpy((void *)w->at, &w->known, w->bytes);
}

/* A write without a hook would be an operation that nobody sees. */
static void look_for_strays(void)
{
    for (const struct word *w = word; w < word + words; w++)
        if (peek(w, ~0ull) != w->known)
            intack_fail("%s was written by code without a hook before it: inline assembly, a library function, a call that "
                        "returns a struct into it, or an object that was not compiled with -fsanitize=thread", w->name);
}

static uint64_t load(struct word *w, uint64_t mask, const char *order)
{
    uint64_t bits = perform(INTEGER, "{\"op\":\"load\",\"at\":\"%s\",\"mask\":%llu,\"order\":\"%s\"}", w->name,
                            (unsigned long long)mask, order)->number;
    if (bits & ~mask)
        intack_fail("result %lu, a load of %s, has bits outside of the mask %#llx", run.operations - 1, w->name,
                    (unsigned long long)mask);
    poke(w, mask, bits);
    return bits;
}

static void store(const struct word *w, uint64_t mask, uint64_t bits, const char *order)
{
    perform(NONE, "{\"op\":\"store\",\"at\":\"%s\",\"value\":%llu,\"mask\":%llu,\"order\":\"%s\"}", w->name,
            (unsigned long long)bits, (unsigned long long)mask, order);
}

/* The program's own store has happened: now it is an operation. */
static void settle(void)
{
    struct store done = run.pending;
    if (!done.size)
        return;
    run.pending.size = 0;
    EACH_WORD(w, mask, done.at, done.size) {
        if (run.twin) {
            page->value = peek(w, mask);
            page->seen = true;
            _exit(0);
        }
        w->known = (w->known & ~mask) | peek(w, mask);
    }
    EACH_WORD(w, mask, done.at, done.size)
        store(w, mask, w->known & mask, done.order);
}

static void end_with_parent(void)
{
#ifdef __linux__
    prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
}

static pid_t fork_limited(void)
{
    pid_t child = fork();
    if (child == 0) {
        struct itimerval limit = {.it_value = {(time_t)(limit_ms / 1000), (suseconds_t)(limit_ms % 1000 * 1000)}};
        end_with_parent();
        setitimer(ITIMER_REAL, &limit, NULL);
    }
    return child;
}

/* Two twins go on to the next hook, one from all zeros, one from all ones: what differs then was not simply written. */
static enum manner find_out(const void *site)
{
    uint64_t value[2], full = 0;

    for (size_t i = 0; i < page->sites; i++)
        if (page->site[i].at == site)
            return page->site[i].manner;
    for (int ones = 0; ones < 2; ones++) {
        page->seen = false;
        pid_t twin = fork_limited();
        if (twin < 0) {
            run.pending.size = 0; /* it has not happened yet */
            intack_fail("fork: %s", strerror(errno));
        }
        if (twin == 0) {
            run.twin = true;
            EACH_WORD(w, mask, run.pending.at, run.pending.size)
                poke(w, mask, ones ? mask : 0);
            return PLAIN;
        }
        waitpid(twin, NULL, 0);
        if (!page->seen) /* it died, and so will this run */
            return PLAIN;
        value[ones] = page->value;
    }
    EACH_WORD(w, mask, run.pending.at, run.pending.size)
        if (!full)
            full = mask;
    enum manner manner = value[0] == value[1] ? PLAIN : value[0] == 0 && value[1] == full ? COPIES : KEEPS;
    if (page->sites < SITES) {
        page->site[page->sites].at = site;
        page->site[page->sites++].manner = manner;
    }
    return manner;
}

static void before_read(const volatile void *at, size_t size, const char *order)
{
    if (!run.on)
        return;
    struct store later = {0};
    if (run.pending.copy) {
        later = run.pending;
        later.copy = false;
        run.pending.size = 0;
    }
    run.pending.copy = false;
    settle();
    EACH_WORD(w, mask, (uintptr_t)at, size)
        load(w, mask, order);
    run.pending = later;
}

static void before_write(const volatile void *at, size_t size, const char *order, enum manner manner, const void *site)
{
    if (!run.on)
        return;
    settle();
    if (!shared(at, size))
        return;
    run.pending = (struct store){(uintptr_t)at, size, order, false};
    if (manner == UNKNOWN)
        manner = find_out(site);
    run.pending.copy = manner == COPIES;
    if (manner == KEEPS) {
        struct store later = run.pending;
        run.pending.size = 0;
        EACH_WORD(w, mask, later.at, later.size)
            load(w, mask, order);
        run.pending = later;
    }
}

/* ---- what the compiler calls: plain and volatile accesses -------------------------------------------------------- */

#define SITE __builtin_return_address(0)
#define ACCESS(name, size, order) \
    void __tsan_##name##read##size(void *at) { before_read(at, size, order); } \
    void __tsan_##name##write##size(void *at) { before_write(at, size, order, UNKNOWN, SITE); }
#define ACCESSES(name, order) \
    ACCESS(name, 2, order) ACCESS(name, 4, order) ACCESS(name, 8, order) ACCESS(name, 16, order)

ACCESS(, 1, "plain")
ACCESSES(, "plain")
ACCESSES(unaligned_, "plain")
ACCESS(volatile_, 1, "relaxed")
ACCESSES(volatile_, "relaxed")
ACCESSES(unaligned_volatile_, "relaxed")

void __tsan_read_range(void *at, size_t size) { before_read(at, size, "plain"); }
void __tsan_write_range(void *at, size_t size) { before_write(at, size, "plain", UNKNOWN, SITE); }
void __tsan_vptr_read(void **at) { before_read(at, sizeof *at, "plain"); }
void __tsan_vptr_update(void **at, void *value)
{
    (void)value;
    before_write(at, sizeof *at, "plain", UNKNOWN, SITE);
}

void __tsan_init(void) {}
void __tsan_func_entry(void *caller)
{
    (void)caller;
    settle();
}
void __tsan_func_exit(void) { settle(); }

void *__tsan_memcpy(void *to, const void *from, size_t size)
{
    before_read(from, size, "plain");
    before_write(to, size, "plain", PLAIN, NULL);
    return memmove(to, from, size);
}
void *__tsan_memmove(void *to, const void *from, size_t size) { return __tsan_memcpy(to, from, size); }
void *__tsan_memset(void *to, int byte, size_t size)
{
    before_write(to, size, "plain", PLAIN, NULL);
    return memset(to, byte, size);
}

/* ---- what the compiler calls: atomics ---------------------------------------------------------------------------- */

/* C11's orders as operations know them. They have no acquire-release: the stronger one is taken. */
static const char *order_of(int order)
{
    static const char *const names_of[] = {"relaxed", "acquire", "acquire", "release", "seq_cst", "seq_cst"};
    return names_of[(order & 0xff) < 6 ? order & 0xff : 5];
}

/* The word that these bytes are part of. Where they are none or only in part shared, there is no such word. */
static struct word *word_of(const volatile void *at, size_t size, uint64_t *covered)
{
    EACH_WORD(w, mask, (uintptr_t)at, size) {
        if ((size_t)__builtin_popcountll(mask) != 8 * size)
            intack_fail("an atomic of %zu bytes at %s reaches beyond one 64-bit location", size, w->name);
        *covered = mask;
        return w;
    }
    return NULL;
}

static const char *const how_name[] = {"swap", "or", "and", "xor", "add", "cas"};

static uint64_t combine(enum intack_how how, uint64_t old, uint64_t value, uint64_t expect)
{
    switch (how) {
    case INTACK_SWAP: return value;
    case INTACK_OR: return old | value;
    case INTACK_AND: return old & value;
    case INTACK_XOR: return old ^ value;
    case INTACK_ADD: return old + value;
    case INTACK_CAS: return old == expect ? value : old;
    }
    return old;
}

static uint64_t rmw(const struct word *w, uint64_t mask, enum intack_how how, uint64_t value, uint64_t expect,
                    const char *order)
{
    uint64_t bits = value & mask;
    char expected[64] = "";
    if (how == INTACK_CAS)
        snprintf(expected, sizeof expected, ",\"expect\":%llu", (unsigned long long)(expect & mask));
    const char *format =
        "{\"op\":\"rmw\",\"at\":\"%s\",\"how\":\"%s\",\"value\":%llu,\"mask\":%llu%s,\"order\":\"%s\"}";
    uint64_t old = perform(INTEGER, format, w->name, how_name[how], (unsigned long long)bits, (unsigned long long)mask,
                           expected, order)
                       ->number;
    if (old & ~mask)
        intack_fail("result %lu, an rmw of %s, has bits outside of the mask %#llx", run.operations - 1, w->name,
                    (unsigned long long)mask);
    return old;
}

/* An atomic on a shared word; its value counts from its own first byte. Private ones are done where they are called. */
static uint64_t shared_rmw(const volatile void *at, size_t size, enum intack_how how, uint64_t value, uint64_t expect,
                           int order)
{
    uint64_t mask = 0;
    const struct word *w = word_of(at, size, &mask);
    int shift = __builtin_ctzll(mask);
    return rmw(w, mask, how, value << shift, expect << shift, order_of(order)) >> shift;
}

static uint64_t shared_load(const volatile void *at, size_t size, int order)
{
    uint64_t mask = 0;
    struct word *w = word_of(at, size, &mask);
    return load(w, mask, order_of(order)) >> __builtin_ctzll(mask);
}

static void shared_store(const volatile void *at, size_t size, uint64_t value, int order)
{
    uint64_t mask = 0;
    const struct word *w = word_of(at, size, &mask);
    store(w, mask, value << __builtin_ctzll(mask) & mask, order_of(order));
}

/* Whether an atomic has to be an operation; if not, what was written before it is settled here. */
static bool atomic_is_shared(const volatile void *at, size_t size)
{
    if (!run.on)
        return false;
    settle();
    return shared(at, size);
}

__extension__ typedef unsigned __int128 word128;

#define FETCH(bits, type, name, how, operand, result) \
    type __tsan_atomic##bits##_##name(volatile type *at, type value, int order) \
    { \
        if (atomic_is_shared(at, sizeof *at)) \
            return (type)shared_rmw(at, sizeof *at, how, (uint64_t)(operand), 0, order); \
        type old = *at; \
        *at = (type)(result); \
        return old; \
    }
#define COMPARE(bits, type, strength) \
    int __tsan_atomic##bits##_compare_exchange_##strength(volatile type *at, type *expect, type value, int order, \
                                                          int failed) \
    { \
        type wanted = *expect; \
        *expect = __tsan_atomic##bits##_compare_exchange_val(at, wanted, value, order, failed); \
        return *expect == wanted; \
    }
#define ATOMICS(bits, type) \
    type __tsan_atomic##bits##_load(const volatile type *at, int order) \
    { \
        return atomic_is_shared(at, sizeof *at) ? (type)shared_load(at, sizeof *at, order) : *at; \
    } \
    void __tsan_atomic##bits##_store(volatile type *at, type value, int order) \
    { \
        if (atomic_is_shared(at, sizeof *at)) \
            shared_store(at, sizeof *at, (uint64_t)value, order); \
        else \
            *at = value; \
    } \
    type __tsan_atomic##bits##_compare_exchange_val(volatile type *at, type expect, type value, int order, int failed) \
    { \
        (void)failed; \
        if (atomic_is_shared(at, sizeof *at)) \
            return (type)shared_rmw(at, sizeof *at, INTACK_CAS, (uint64_t)value, (uint64_t)expect, order); \
        type old = *at; \
        if (old == expect) \
            *at = value; \
        return old; \
    } \
    COMPARE(bits, type, strong) \
    COMPARE(bits, type, weak) \
    FETCH(bits, type, exchange, INTACK_SWAP, value, value) \
    FETCH(bits, type, fetch_add, INTACK_ADD, value, old + value) \
    FETCH(bits, type, fetch_sub, INTACK_ADD, -value, old - value) \
    FETCH(bits, type, fetch_or, INTACK_OR, value, old | value) \
    FETCH(bits, type, fetch_and, INTACK_AND, value, old & value) \
    FETCH(bits, type, fetch_xor, INTACK_XOR, value, old ^ value) \
    type __tsan_atomic##bits##_fetch_nand(volatile type *at, type value, int order) \
    { /* no machine has one: compilers make it a loop */ \
        type old = __tsan_atomic##bits##_load(at, __ATOMIC_RELAXED); \
        while (!__tsan_atomic##bits##_compare_exchange_weak(at, &old, (type) ~(old & value), order, __ATOMIC_RELAXED)) \
            ; \
        return old; \
    }

ATOMICS(8, uint8_t)
ATOMICS(16, uint16_t)
ATOMICS(32, uint32_t)
ATOMICS(64, uint64_t)
ATOMICS(128, word128)

static void fence(const char *kind) { perform(NONE, "{\"op\":\"fence\",\"kind\":\"%s\"}", kind); }

void __tsan_atomic_thread_fence(int order)
{
    if (!run.on)
        return;
    settle();
    if (order == __ATOMIC_SEQ_CST) {
        fence("full");
        return;
    }
    if (order == __ATOMIC_ACQUIRE || order == __ATOMIC_CONSUME || order == __ATOMIC_ACQ_REL)
        fence("acquire");
    if (order == __ATOMIC_RELEASE || order == __ATOMIC_ACQ_REL)
        fence("release");
}
void __tsan_atomic_signal_fence(int order)
{
    (void)order;
    settle();
}

/* ---- intack.h: operations ---------------------------------------------------------------------------------------- */

static const char *truth(bool value) { return value ? "true" : "false"; }

bool intack_interrupts(bool on) { return perform(BOOL, "{\"op\":\"interrupts\",\"on\":%s}", truth(on))->number; }
void intack_preemption(bool on) { perform(NONE, "{\"op\":\"preemption\",\"on\":%s}", truth(on)); }
void intack_lock(const char *name) { perform(NONE, "{\"op\":\"lock\",\"at\":\"%s\"}", name); }
void intack_unlock(const char *name) { perform(NONE, "{\"op\":\"unlock\",\"at\":\"%s\"}", name); }
bool intack_wake(const char *thread) { return perform(BOOL, "{\"op\":\"wake\",\"thread\":\"%s\"}", thread)->number; }
void intack_relax(void) { perform(NONE, "{\"op\":\"relax\"}"); }
unsigned intack_cpu_id(void) { return (unsigned)perform(INTEGER, "{\"op\":\"cpu_id\"}")->number; }
void intack_fence(void) { fence("full"); }

void intack_send_ipi(unsigned vector, int64_t to)
{
    char destination[32] = "null";
    if (to != INTACK_SELF)
        snprintf(destination, sizeof destination, "%lld", (long long)to);
    perform(NONE, "{\"op\":\"send_ipi\",\"vector\":%u,\"to\":%s}", vector, destination);
}

/* The declared word that begins here, or NULL in private memory: code uses the same function for both. */
static struct word *word_at(const volatile void *at)
{
    if (!run.on)
        return NULL;
    settle();
    for (struct word *w = word; w < word + words; w++)
        if (w->at == (uintptr_t)at)
            return w;
    if (shared(at, 8))
        intack_fail("an instruction on some bits of a word needs the address where a shared 64-bit word begins");
    return NULL;
}

uint64_t intack_load(const volatile void *at, uint64_t mask)
{
    struct word *w = word_at(at);
    return w ? load(w, mask, "plain") : *(const volatile uint64_t *)at & mask;
}

uint64_t intack_rmw(volatile void *at, enum intack_how how, uint64_t value, uint64_t mask)
{
    const struct word *w = word_at(at);
    if (how == INTACK_CAS)
        intack_fail("intack_rmw has no argument for what a cas expects: use an atomic of the language");
    if (w)
        return rmw(w, mask, how, value, 0, "seq_cst");
    uint64_t old = *(volatile uint64_t *)at;
    *(volatile uint64_t *)at = (old & ~mask) | (combine(how, old, value, 0) & mask);
    return old & mask;
}

static const char *list_name(const void *at)
{
    for (size_t i = 0; i < lists; i++)
        if (list[i].at == at)
            return list[i].name;
    intack_fail("no list location at this address: declare it with intack_share_list()");
}

static void *object_named(const char *name)
{
    for (size_t i = 0; i < names; i++)
        if (!strcmp(named[i].name, name))
            return (void *)named[i].at;
    intack_fail("no object has the name %s: give it one with intack_name()", name);
}

struct intack_list intack_list_load(const void *at)
{
    struct intack_list value = {0};
    const char *name = list_name(at);
    const struct token *result = perform(OPEN, "{\"op\":\"load\",\"at\":\"%s\"}", name);
    for (result++; result->kind != CLOSE; result++) {
        if (result->kind != STRING || value.length == INTACK_LIST_MAX)
            intack_fail("result %lu, a load of %s, is not a tuple of at most %d names", run.operations - 1, name,
                        INTACK_LIST_MAX);
        value.item[value.length++] = object_named(result->text);
    }
    return value;
}

void intack_list_store(const void *at, const struct intack_list *value)
{
    char items[4096] = "";
    size_t n = 0;
    const char *name = list_name(at);
    for (size_t i = 0; i < value->length && n < sizeof items; i++)
        n += (size_t)snprintf(items + n, sizeof items - n, "%s\"%s\"", i ? "," : "", intack_name_of(value->item[i]));
    perform(NONE, "{\"op\":\"store\",\"at\":\"%s\",\"value\":[%s]}", name, items);
}

/* ---- intack.h: arguments and Return ------------------------------------------------------------------------------ */

static const struct token *argument(unsigned index, enum kind kind, const char *wanted)
{
    const struct token *found = run.argument + index;
    for (unsigned i = 0; i <= index; i++)
        if (run.argument[i].kind == SEPARATOR)
            intack_fail("argument %u is missing: %s is expected", index, wanted);
    if (found->kind != kind)
        intack_fail("argument %u is not %s", index, wanted);
    return found;
}

bool intack_bool_argument(unsigned index) { return argument(index, BOOL, "a bool")->number; }
int64_t intack_integer_argument(unsigned index) { return (int64_t)argument(index, INTEGER, "an integer")->number; }
void *intack_object_argument(unsigned index) { return object_named(argument(index, STRING, "a name")->text); }

void intack_return_bool(bool value) { snprintf(run.value, sizeof run.value, "%s", truth(value)); }
void intack_return_integer(uint64_t value) { snprintf(run.value, sizeof run.value, "%llu", (unsigned long long)value); }

INTACK_PRINTF(1, 2) static void then(const char *format, ...)
{
    size_t used = strlen(run.then), room = sizeof run.then - used;
    va_list arguments;
    va_start(arguments, format);
    if ((size_t)vsnprintf(run.then + used, room, format, arguments) >= room)
        intack_fail("the next routine and its arguments are longer than %zu characters", sizeof run.then);
    va_end(arguments);
}

void intack_then(const char *name)
{
    run.then[0] = 0;
    then("\"%s\"", name);
}
void intack_then_integer(int64_t value) { then(",%lld", (long long)value); }
void intack_then_object(const void *object) { then(",\"%s\"", intack_name_of(object)); }

/* ---- intack.h: set-up -------------------------------------------------------------------------------------------- */

/* A name goes into answers and questions as it is, so it must need no escapes there. */
static const char *keep_name(const char *format, va_list arguments)
{
    char *name;
    if (vasprintf(&name, format, arguments) < 0)
        intack_fail("no memory for names");
    for (const char *c = name; *c; c++)
        if (*c <= ' ' || *c > '~' || *c == '"' || *c == '\\')
            intack_fail("the name '%s' must have only printable characters, no space, quote or backslash", name);
    return name;
}

static struct named *new_named(struct named *table, size_t *count, const char *what)
{
    if (*count == OBJECTS)
        intack_fail("more than %d %s", OBJECTS, what);
    return &table[(*count)++];
}

static void add_word(uintptr_t at, size_t bytes, const char *name)
{
    size_t place = words;
    if (words == WORDS)
        intack_fail("more than %d shared words", WORDS);
    if (shared((const void *)at, bytes))
        intack_fail("%s overlaps an object that is already shared", name);
    for (; place && word[place - 1].at > at; place--)
        word[place] = word[place - 1];
    word[place] = (struct word){at, bytes, name, 0};
    words++;
}

void intack_share(const volatile void *object, size_t size, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const char *name = keep_name(format, arguments);
    va_end(arguments);
    for (size_t offset = 0; offset < size; offset += 8) {
        char *location = (char *)name;
        if (size > 8 && asprintf(&location, "%s[%zu]", name, offset / 8) < 0)
            intack_fail("no memory for names");
        add_word((uintptr_t)object + offset, size - offset < 8 ? size - offset : 8, location);
    }
}

void intack_share_list(const void *at, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    *new_named(list, &lists, "lists") = (struct named){at, keep_name(format, arguments)};
    va_end(arguments);
}

void intack_name(const void *object, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    *new_named(named, &names, "names") = (struct named){object, keep_name(format, arguments)};
    va_end(arguments);
}

const char *intack_name_of(const void *object)
{
    for (size_t i = 0; i < names; i++)
        if (named[i].at == object)
            return named[i].name;
    intack_fail("an object has no name: give it one with intack_name()");
}

void intack_routine(const char *name, void (*start)(void))
{
    if (routines == ROUTINES)
        intack_fail("more than %d routines", ROUTINES);
    routine[routines++] = (struct routine){name, start};
}

/* ---- the child: one question ------------------------------------------------------------------------------------- */

/* Tokens are separated by spaces: 'routine, arguments, ;, results. -: None, t f: bools, 'x: a string, ( ): a tuple. */
static const char *read_question(char *line)
{
    size_t count = 0, room = 0;
    struct token *token = NULL;

    for (char *text = strtok(line, " \n"); text; text = strtok(NULL, " \n")) {
        if (count == room && !(token = realloc(token, (room = 2 * room + 64) * sizeof *token)))
            intack_fail("no memory for the question");
        struct token *t = &token[count++];
        *t = (struct token){NONE, 0, text};
        switch (*text) {
        case 't': t->kind = BOOL; t->number = 1; break;
        case 'f': t->kind = BOOL; break;
        case '\'': t->kind = STRING; t->text++; break;
        case '(': t->kind = OPEN; break;
        case ')': t->kind = CLOSE; break;
        case ';': t->kind = SEPARATOR; break;
        default:
            if (strcmp(text, "-")) {
                t->kind = INTEGER;
                t->number = strtoull(text, NULL, 10); /* of a negative number, its two's complement */
            }
        }
    }
    run.next = token;
    run.end = token + count;
    while (run.next < run.end && run.next->kind != SEPARATOR)
        run.next++;
    if (run.next++ >= run.end || token->kind != STRING)
        intack_fail("the question is not complete");
    run.argument = token + 1;
    return token->text;
}

_Noreturn static void answer(char *line)
{
    run.on = true;
    strcpy(run.value, "null");
    const char *name = read_question(line);
    const struct routine *asked = routine;
    while (asked < routine + routines && strcmp(asked->name, name))
        asked++;
    if (asked == routine + routines) {
        char offered[1024] = "";
        for (size_t i = 0, n = 0; i < routines && n < sizeof offered; i++)
            n += (size_t)snprintf(offered + n, sizeof offered - n, "%s%s", i ? ", " : "", routine[i].name);
        intack_fail("the program has no routine of this name; it has %s", routines ? offered : "none");
    }
    for (struct word *w = word; w < word + words; w++)
        w->known = peek(w, ~0ull);
    asked->run();
    settle();
    look_for_strays();
    if (run.next < run.end)
        intack_fail("the routine returns after %lu operations, but there are more results than that", run.operations);
    publish(snprintf(page->answer, ANSWER, "{\"op\":\"return\",\"then\":[%s],\"value\":%s}", run.then, run.value));
}

/* ---- the parent -------------------------------------------------------------------------------------------------- */

/* So that a value that is an address is the same in every process. Where that is forbidden, it is in all children. */
static void fix_addresses(char **argv)
{
#ifdef __linux__
    int now = personality(0xffffffff);
    if (now != -1 && !(now & ADDR_NO_RANDOMIZE) && personality((unsigned long)now | ADDR_NO_RANDOMIZE) != -1)
        execv("/proc/self/exe", argv);
#else
    (void)argv;
#endif
}

static void explain(int status)
{
    const char *kind = "crash";
    char what[256];
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) {
        kind = "timeout";
        snprintf(what, sizeof what, "no answer within %lu ms: it runs for ever, or waits, between two operations",
                 limit_ms);
    } else if (WIFSIGNALED(status))
        snprintf(what, sizeof what, "it crashed with signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(what, sizeof what, "it ended by itself, with exit status %d", WEXITSTATUS(status));
    page->length = (size_t)failure(page->answer, ANSWER, kind, what);
}

int main(int argc, char **argv)
{
    fix_addresses(argv);
    end_with_parent();
    signal(SIGALRM, SIG_DFL);
    signal(SIGCHLD, SIG_DFL);
    if (argc > 1)
        limit_ms = strtoul(argv[1], NULL, 10);

    /* The program's own output goes to stderr, and it has no input: both pipes are for questions and answers only. */
    FILE *questions = fdopen(fcntl(0, F_DUPFD_CLOEXEC, 3), "r");
    int answers = fcntl(1, F_DUPFD_CLOEXEC, 3), nothing = open("/dev/null", O_RDONLY);
    setvbuf(stdout, NULL, _IONBF, 0); /* a run that ends here and now must not keep what it printed */
    page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!questions || answers < 0 || nothing < 0 || dup2(nothing, 0) < 0 || dup2(2, 1) < 0 || page == MAP_FAILED)
        intack_fail("cannot start: %s", strerror(errno));

    intack_setup();

    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, questions) > 0) {
        int status = 0;
        page->length = 0;
        pid_t child = fork_limited();
        if (child < 0)
            intack_fail("fork: %s", strerror(errno));
        if (child == 0) {
            close(answers);
            answer(line);
        }
        while (waitpid(child, &status, 0) < 0 && errno == EINTR)
            ;
        if (!page->length)
            explain(status);
        page->answer[page->length++] = '\n';
        for (size_t sent = 0; sent < page->length;) {
            ssize_t n = write(answers, page->answer + sent, page->length - sent);
            if (n < 0 && errno != EINTR)
                return 0; /* nobody asks any more */
            sent += n > 0 ? (size_t)n : 0;
        }
    }
    return 0;
}

/*
 * runtime.c: answers in place of ThreadSanitizer's library.
 *
 * A prepared parent reads questions as lines of JSON (docs/protocol.md): a routine, its arguments, the results of its
 * operations so far. For each it forks a child that runs the routine from its start, gives every operation its recorded
 * result, and answers with the first operation that has none, or with the Return. So static data are clean, addresses
 * constant, and a crash costs nothing.
 *
 *     parent --question--> child: routine --hook--> result recorded? go on : answer, end
 *        ^------------------answer in a shared page-----------------------------'
 *
 * To fork takes longer than all else. So if the question says so, the run goes on behind its answer: with the results
 * that the question says may follow, then with guesses, and each operation that it comes to is an answer ahead.
 *
 * A load: the recorded value is put into memory, then the program's own load finds it there. A plain store: its value
 * is known only after the program's own store, so it is an operation at the next hook. An atomic is done here.
 */
#define _GNU_SOURCE
#include "intack.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/personality.h>
#include <sys/prctl.h>
#endif

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the bytes of a word are counted from its low end");

/* ---- declarations of the program --------------------------------------------------------------------------------- */

struct word { /* one location, or a part of one: up to 8 bytes of a shared object */
    uintptr_t at;
    size_t bytes;
    const char *name;
    unsigned shift; /* where its lowest bit is in the location; masks and values are those of its own bytes */
    uint64_t known; /* what hooks and answers left there */
    bool pointer;   /* it holds an object's address, the location its name */
    bool touched;   /* by this run, */
    uint64_t left;  /* which left this in it, as far as it knows: a guess at what a load finds */
};

struct named {
    const void *at;
    const char *name;
};

struct routine {
    const char *name, *types; /* types: of a described function, its result's and its parameters' */
    void (*run)(void);
};

struct range { /* static data that may outlive a call */
    uintptr_t at;
    size_t size;
};

enum { WORDS = 4096, OBJECTS = 1024, CALLS = 64, ROUTINES = 256, SITES = 4096, TOUCHED = 1 << 13, ANSWER = 1 << 16 };
enum { AHEAD = 1 << 14, LATEST = 1 << 12, TOKENS = 8, TEXT = 64 };

static struct word word[WORDS]; /* by address */
static struct named named[OBJECTS], list[OBJECTS], lock[OBJECTS];
static struct routine routine[ROUTINES];
static struct range excused[OBJECTS];
static size_t words, names, lists, locks, routines, excuses;

/* ---- lines of JSON ----------------------------------------------------------------------------------------------- */

struct token {
    enum kind { NONE, BOOL, INTEGER, STRING, OPEN, CLOSE } kind;
    uint64_t number;
    const char *text;
};

static struct { /* what the first line said */
    bool greeted;
    const struct token *vcpus, *vectors, *facts;
    unsigned cpus;
} world;

/* ---- the run of one child ---------------------------------------------------------------------------------------- */

struct store { /* a plain store whose value is not known yet */
    uintptr_t at;
    size_t size;
    const char *order;
    const void *site;
    bool copy; /* the next hook belongs to the same copy: see enum manner */
};

static struct {
    bool on;   /* between the call of a routine and its return */
    bool twin; /* a fork that only finds out what the pending store does */
    const struct routine *routine;
    unsigned long operations;
    const struct token *argument, *next;
    const struct token *follow; /* results that may come next; NULL: it ends with its answer */
    bool ahead;    /* it has answered, and goes on */
    bool guessing; /* with results that nobody named */
    const void *site; /* in the program: where the operation is asked for */
    const void *caller[CALLS]; /* where the functions that it is in were called, outermost first */
    size_t calls;
    struct store pending;
    char then[1024], value[1024];
} run;

/* Bytes of a static word that the run has written itself, by address. */
static struct written {
    uintptr_t at;
    uint8_t bytes;
} written[TOUCHED];

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
    const void *pc, *after; /* where a signal hit; where the last operation that has its result was asked for */
    const void *caller[CALLS]; /* as in run, when the signal hit */
    size_t calls;
    bool seen;              /* a twin has left the value it saw */
    uint64_t value;
    size_t results, further; /* lengths of what is ahead: the results that were guessed, and the answers */
    char result[AHEAD], ahead[AHEAD];
    struct latest { /* what an operation answered the last time */
        uint64_t operation; /* a hash of its text */
        struct token token[TOKENS];
        char text[TEXT];
    } latest[LATEST];
    size_t sites;
    struct {
        const void *at;
        enum manner manner;
    } site[SITES];
    struct touch { /* of a static word that is not shared, by all runs */
        uintptr_t at;
        struct {
            uint8_t bytes; /* read before the run wrote them itself; written */
            unsigned routine;
            const void *site;
        } by[2];
    } touch[TOUCHED];
} *page;

static int answers = 1; /* file descriptor */

static unsigned long limit_ms = 5000;

/* ---- answers ----------------------------------------------------------------------------------------------------- */

static int quoted(char *to, size_t room, const char *text)
{
    size_t n = 0;
    for (; *text && n < room - 4; text++) {
        if (*text == '"' || *text == '\\')
            to[n++] = '\\';
        to[n++] = *text < ' ' || *text > '~' ? ' ' : *text;
    }
    to[n] = 0;
    return (int)n;
}

/* Return addresses, innermost first, each after the separator. */
static const char *callers(const void *const *caller, size_t calls, const char *separator)
{
    static char text[CALLS * 24];
    size_t n = 0;
    text[0] = 0;
    for (size_t i = calls < CALLS ? calls : CALLS; i--;)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%llu", separator, (unsigned long long)(uintptr_t)caller[i]);
    return text;
}

static int failure(const char *kind, const char *what, const void *at, const char *called, const void *after,
                   uintptr_t object)
{
    static char text[4096];
    if (run.ahead) /* nobody has asked for it */
        _exit(0);
    quoted(text, sizeof text, what);
    return snprintf(page->answer, ANSWER, "{\"op\":\"error\",\"kind\":\"%s\",\"what\":\"%s\",\"at\":[%llu%s],"
                    "\"after\":%llu,\"object\":%llu}", kind, text, (unsigned long long)(uintptr_t)at, called,
                    (unsigned long long)(uintptr_t)after, (unsigned long long)object);
}

/* Of the operation that is asked for. */
static int failed(const char *kind, const char *what)
{
    return failure(kind, what, run.site, callers(run.caller, run.calls, ","), page->after, 0);
}

static void send_all(const char *text, size_t length)
{
    for (size_t sent = 0; sent < length;) {
        ssize_t n = write(answers, text + sent, length - sent);
        if (n < 0 && errno != EINTR)
            exit(0); /* nobody asks any more */
        sent += n > 0 ? (size_t)n : 0;
    }
}

_Noreturn static void publish(int length)
{
    if (length <= 0 || length >= ANSWER)
        length = failed("refused", "its answer is too long");
    if (!run.twin)
        page->length = (size_t)length;
    _exit(0);
}

static void settle(void);
static void look_for_strays(void);
_Noreturn static void finish(void);

INTACK_PRINTF(1, 2) INTACK_NORETURN static void give_up(const char *format, ...)
{
    char what[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    if (run.on) {
        settle();
        publish(failed("refused", what));
    }
    char line[4200] = "{\"type\":\"error\",\"what\":\"";
    size_t n = strlen(line);
    n += (size_t)quoted(line + n, sizeof line - n - 4, what);
    strcpy(line + n, "\"}\n");
    send_all(line, n + 3);
    exit(2);
}

/* The token after this value. */
static const struct token *behind(const struct token *value)
{
    size_t depth = 0;
    do {
        depth += value->kind == OPEN;
        depth -= value->kind == CLOSE;
        value++;
    } while (depth);
    return value;
}

/* ---- answers ahead ----------------------------------------------------------------------------------------------- */

static bool append(char *to, size_t *length, const char *text, size_t more)
{
    if (*length + more + 2 > AHEAD)
        return false;
    if (*length)
        to[(*length)++] = ',';
    memcpy(to + *length, text, more);
    *length += more;
    return true;
}

static uint64_t hash(const char *text)
{
    uint64_t sum = 0xcbf29ce484222325;
    for (; *text; text++)
        sum = (sum ^ (unsigned char)*text) * 0x100000001b3;
    return sum;
}

static void remember(uint64_t operation, const struct token *result)
{
    struct latest *latest = &page->latest[operation % LATEST];
    size_t count = (size_t)(behind(result) - result), used = 0;
    latest->operation = 0;
    for (size_t i = 0; i < count; i++) {
        size_t size = result[i].kind == STRING ? strlen(result[i].text) + 1 : 0;
        if (count > TOKENS || used + size > TEXT)
            return;
        latest->token[i] = result[i];
        if (size)
            latest->token[i].text = memcpy(latest->text + used, result[i].text, size);
        used += size;
    }
    latest->operation = operation;
}

/* A result of this kind that the operation may well have, or NULL: the only one there is, what the run itself left there, or
 * what the same operation answered the last time.
 */
static const struct token *guess(enum kind kind, uint64_t operation, const uint64_t *left)
{
    static struct token none = {NONE, 0, ""}, number = {INTEGER, 0, ""};
    const struct latest *latest = &page->latest[operation % LATEST];
    const struct token *found = kind == NONE ? &none : NULL;
    char text[TEXT + 24 * TOKENS];
    size_t n = 0;

    if (kind == INTEGER && left) {
        number.number = *left;
        found = &number;
    } else if (kind != NONE && latest->operation == operation && latest->token->kind == kind)
        found = latest->token;
    if (!found)
        return NULL;
    for (const struct token *t = found; t < behind(found); t++) {
        if (n && t->kind != CLOSE && t[-1].kind != OPEN)
            text[n++] = ',';
        switch (t->kind) {
        case NONE: n += (size_t)sprintf(text + n, "null"); break;
        case BOOL: n += (size_t)sprintf(text + n, t->number ? "true" : "false"); break;
        case INTEGER: n += (size_t)sprintf(text + n, "%llu", (unsigned long long)t->number); break;
        case STRING: n += (size_t)sprintf(text + n, "\"%s\"", t->text); break;
        case OPEN: text[n++] = '['; break;
        case CLOSE: text[n++] = ']'; break;
        }
    }
    return append(page->result, &page->results, text, n) ? found : NULL;
}

/* What the run has come to, as JSON, is the answer, or one ahead. */
static void tell(const char *text, int length)
{
    struct itimerval soon = {.it_value = {0, 250000}}, cpu = {.it_value = {0, 20000}};
    if (!run.ahead) {
        if (length <= 0 || length >= ANSWER)
            publish(length);
        memcpy(page->answer, text, (size_t)length);
        page->length = (size_t)length;
        setitimer(ITIMER_REAL, &soon, NULL);
        setitimer(ITIMER_VIRTUAL, &cpu, NULL);
    } else if (length <= 0 || length >= ANSWER || !append(page->ahead, &page->further, text, (size_t)length))
        _exit(0);
    if (!run.follow)
        _exit(0);
    if (!run.ahead)
        run.next = run.follow;
    run.ahead = true;
}

/* The result of the next operation. If none is recorded, the operation itself, as JSON, is the answer. `left`: what the run
 * itself left there.
 */
INTACK_PRINTF(3, 4) static const struct token *result_of(enum kind kind, const uint64_t *left, const char *format, ...)
{
    static const char *const called[] = {"None", "a bool", "an integer", "a string", "a tuple"};
    static char text[ANSWER];
    va_list arguments;

    if (!run.on)
        give_up("an operation outside of a routine (%s)", format);
    settle();
    look_for_strays();
    bool recorded = run.next->kind != CLOSE && !run.ahead;
    const struct token *result = run.next;
    if (recorded && behind(result)->kind != CLOSE && result->kind == kind) { /* the latest is worth remembering */
        run.next = behind(result);
        run.operations++;
        return result;
    }
    va_start(arguments, format);
    int length = vsnprintf(text, ANSWER, format, arguments);
    va_end(arguments);
    uint64_t operation = hash(text);
    if (recorded && result->kind != kind)
        give_up("result %lu is %s, but the operation it answers is %.400s", run.operations, called[result->kind], text);
    if (!recorded) {
        if (run.site && length > 0 && length < ANSWER - 4096)
            length += snprintf(text + length - 1, 4096, ",\"site\":\"%llu%s\"}",
                               (unsigned long long)(uintptr_t)run.site, callers(run.caller, run.calls, " ")) - 1;
        tell(text, length);
        result = run.next;
    }
    if (result->kind == CLOSE) {
        run.guessing = true;
        result = guess(kind, operation, left);
    } else {
        if (result->kind != kind)
            _exit(0);
        run.next = behind(result);
        remember(operation, result);
    }
    if (!result)
        _exit(0);
    run.operations++;
    if (!run.ahead)
        page->after = run.site;
    return result;
}

#define perform(kind, ...) result_of(kind, NULL, __VA_ARGS__)

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

static void leave(struct word *w, uint64_t mask, uint64_t bits)
{
    w->left = (w->left & ~mask) | (bits & mask);
    w->touched = true;
}

/* A write without a hook would be an operation that nobody sees. */
static void look_for_strays(void)
{
    for (const struct word *w = word; w < word + words; w++)
        if (peek(w, ~0ull) != w->known)
            give_up("%s was written by code without a hook before it: inline assembly, a library function, a call that "
                        "returns a struct into it, or an object that was not compiled with -fsanitize=thread", w->name);
}

static const char *name_in(const struct named *table, size_t count, const volatile void *at);
static void *object_named(const char *name);

static uint64_t load_pointer(struct word *w, const char *order)
{
    const struct token *result =
        perform(OPEN, "{\"op\":\"load\",\"at\":\"%s\",\"order\":\"%s\"}", w->name, order) + 1;
    if (result->kind != CLOSE && (result->kind != STRING || result[1].kind != CLOSE))
        give_up("result %lu, a load of the pointer %s, is not a tuple of one name or none", run.operations - 1, w->name);
    uint64_t bits = result->kind == CLOSE ? 0 : (uintptr_t)object_named(result->text);
    poke(w, ~0ull, bits);
    return bits;
}

static void store_pointer(const struct word *w, uint64_t bits, const char *order)
{
    const char *name = bits ? name_in(named, names, (const void *)(uintptr_t)bits) : "";
    if (!name)
        give_up("%#llx is stored in the pointer %s: no object that has a name is there", (unsigned long long)bits, w->name);
    const char *quote = bits ? "\"" : "";
    perform(NONE, "{\"op\":\"store\",\"at\":\"%s\",\"value\":[%s%s%s],\"order\":\"%s\"}", w->name, quote, name, quote, order);
}

static uint64_t load(struct word *w, uint64_t mask, const char *order)
{
    if (w->pointer)
        return load_pointer(w, order) & mask;
    uint64_t asked = mask << w->shift;
    uint64_t left = w->left & asked;
    uint64_t bits = result_of(INTEGER, w->touched ? &left : NULL,
                           "{\"op\":\"load\",\"at\":\"%s\",\"mask\":%llu,\"order\":\"%s\"}", w->name,
                           (unsigned long long)asked, order)->number;
    if (bits & ~asked)
        give_up("result %lu, a load of %s, has bits outside of the mask %#llx", run.operations - 1, w->name,
                    (unsigned long long)asked);
    poke(w, mask, bits >> w->shift);
    leave(w, asked, bits);
    return bits >> w->shift;
}

static void store(struct word *w, uint64_t mask, uint64_t bits, const char *order)
{
    if (w->pointer && mask == ~0ull) {
        store_pointer(w, bits, order);
        return;
    }
    if (w->pointer)
        give_up("a part of the pointer %s is written", w->name);
    perform(NONE, "{\"op\":\"store\",\"at\":\"%s\",\"value\":%llu,\"mask\":%llu,\"order\":\"%s\"}", w->name,
            (unsigned long long)(bits << w->shift), (unsigned long long)(mask << w->shift), order);
    leave(w, mask << w->shift, bits << w->shift);
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
    const void *now = run.site;
    run.site = done.site;
    EACH_WORD(w, mask, done.at, done.size)
        store(w, mask, w->known & mask, done.order);
    run.site = now;
}

/* ---- static data that is not shared ------------------------------------------------------------------------------ */

extern char __data_start[] __attribute__((weak)), _end[] __attribute__((weak));

static size_t place(uintptr_t at) { return (at >> 3) * 0x9e3779b97f4a7c15ull >> 51; }

/* The entry of this word in a table of TOUCHED entries whose first member is its address; NULL if it is full. */
#define ENTRY(table, found, word_at) \
    do { \
        size_t n = place(word_at), tries = 0; \
        while (table[n].at && table[n].at != (word_at) && tries++ < TOUCHED) \
            n = (n + 1) % TOUCHED; \
        found = tries > TOUCHED ? NULL : &table[n]; \
        if (found) \
            found->at = (word_at); \
    } while (0)

enum { READ, WRITE };

_Noreturn static void undeclared(const struct touch *touch, int how)
{
    char what[512];
    snprintf(what, sizeof what, "memory at %#lx, which is not shared, outlives the call: %s writes it and %s reads it",
             (unsigned long)touch->at, routine[touch->by[WRITE].routine].name, routine[touch->by[READ].routine].name);
    (void)how;
    publish(failure("undeclared", what, touch->by[WRITE].site, "", touch->by[READ].site, touch->at));
}

/* A value that one run leaves and another finds would be lost here, so it is an error that some run writes what some
 * run reads without having written it before. */
static void touch_static(uintptr_t at, size_t size, int how)
{
    if (at < (uintptr_t)__data_start || at + size > (uintptr_t)_end || run.twin)
        return;
    for (const struct range *r = excused; r < excused + excuses; r++)
        if (at >= r->at && at < r->at + r->size)
            return;
    for (uintptr_t word_at = at & ~7ull; word_at < at + size; word_at += 8) {
        uintptr_t low = at > word_at ? at - word_at : 0, high = at + size < word_at + 8 ? at + size - word_at : 8;
        uint8_t bytes = (uint8_t)((0xffu << low) & (0xffu >> (8 - high)));
        struct written *own;
        struct touch *touch;
        ENTRY(written, own, word_at);
        ENTRY(page->touch, touch, word_at);
        if (!own || !touch)
            give_up("more than %d static words that are not shared are touched: excuse large tables as private",
                        TOUCHED);
        if (how == READ)
            bytes &= (uint8_t)~own->bytes;
        else
            own->bytes |= bytes;
        if (run.guessing && bytes & ~touch->by[how].bytes) { /* what nobody comes to counts for nothing */
            if (!touch->by[READ].bytes && !touch->by[WRITE].bytes)
                touch->at = 0;
            _exit(0);
        }
        if (bytes & ~touch->by[how].bytes) {
            touch->by[how].bytes |= bytes;
            touch->by[how].routine = (unsigned)(run.routine - routine);
            touch->by[how].site = run.site;
        }
        if (touch->by[READ].bytes & touch->by[WRITE].bytes)
            undeclared(touch, how);
    }
}

static bool touched(const volatile void *at, size_t size, int how)
{
    if (shared(at, size))
        return true;
    touch_static((uintptr_t)at, size, how);
    return false;
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
            give_up("fork: %s", strerror(errno));
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
    if (touched(at, size, READ))
        EACH_WORD(w, mask, (uintptr_t)at, size)
            load(w, mask, order);
    run.pending = later;
}

static void before_write(const volatile void *at, size_t size, const char *order, enum manner manner, const void *site)
{
    if (!run.on)
        return;
    settle();
    if (!touched(at, size, WRITE))
        return;
    run.pending = (struct store){(uintptr_t)at, size, order, run.site, false};
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

#define HERE (run.site = __builtin_return_address(0))
#define ACCESS(name, size, order) \
    void __tsan_##name##read##size(void *at) { HERE; before_read(at, size, order); } \
    void __tsan_##name##write##size(void *at) { HERE; before_write(at, size, order, UNKNOWN, run.site); } \
    void __tsan_##name##read_write##size(void *at) \
    { \
        HERE; \
        before_read(at, size, order); \
        before_write(at, size, order, PLAIN, NULL); \
    }
#define ACCESSES(name, order) \
    ACCESS(name, 2, order) ACCESS(name, 4, order) ACCESS(name, 8, order) ACCESS(name, 16, order)

ACCESS(, 1, "plain")
ACCESSES(, "plain")
ACCESSES(unaligned_, "plain")
ACCESS(volatile_, 1, "relaxed")
ACCESSES(volatile_, "relaxed")
ACCESSES(unaligned_volatile_, "relaxed")

void __tsan_read_range(void *at, size_t size) { HERE; before_read(at, size, "plain"); }
void __tsan_write_range(void *at, size_t size) { HERE; before_write(at, size, "plain", UNKNOWN, run.site); }
void __tsan_vptr_read(void **at) { HERE; before_read(at, sizeof *at, "plain"); }
void __tsan_vptr_update(void **at, void *value)
{
    HERE;
    (void)value;
    before_write(at, sizeof *at, "plain", UNKNOWN, run.site);
}

void __tsan_init(void) {}
void __tsan_ignore_thread_begin(void) {}
void __tsan_ignore_thread_end(void) {}
void __tsan_func_entry(void *caller)
{
    settle();
    if (run.calls < CALLS)
        run.caller[run.calls] = caller;
    run.calls++;
}
void __tsan_func_exit(void)
{
    settle();
    run.calls -= run.calls > 0;
}

static void *copy(void *to, const void *from, size_t size)
{
    before_read(from, size, "plain");
    before_write(to, size, "plain", PLAIN, NULL);
    return memmove(to, from, size);
}
void *__tsan_memcpy(void *to, const void *from, size_t size) { HERE; return copy(to, from, size); }
void *__tsan_memmove(void *to, const void *from, size_t size) { HERE; return copy(to, from, size); }
void *__tsan_memset(void *to, int byte, size_t size)
{
    HERE;
    before_write(to, size, "plain", PLAIN, NULL);
    return memset(to, byte, size);
}

/* ---- what the compiler calls: atomics ---------------------------------------------------------------------------- */

/* C11's orders as operations know them. */
static const char *order_of(int order)
{
    static const char *const names_of[] = {"relaxed", "acquire", "acquire", "release", "acq_rel", "seq_cst"};
    return names_of[(order & 0xff) < 6 ? order & 0xff : 5];
}

/* The word that these bytes are part of. Where they are none or only in part shared, there is no such word. */
static struct word *word_of(const volatile void *at, size_t size, uint64_t *covered)
{
    EACH_WORD(w, mask, (uintptr_t)at, size) {
        if ((size_t)__builtin_popcountll(mask) != 8 * size)
            give_up("an atomic of %zu bytes at %s reaches beyond one 64-bit location", size, w->name);
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

static uint64_t rmw(struct word *w, uint64_t mask, enum intack_how how, uint64_t value, uint64_t expect,
                    const char *order)
{
    if (w->pointer)
        give_up("an atomic on the pointer %s: only loads and stores are known", w->name);
    uint64_t bits = (value & mask) << w->shift, asked = mask << w->shift;
    char expected[64] = "";
    if (how == INTACK_CAS)
        snprintf(expected, sizeof expected, ",\"expect\":%llu", (unsigned long long)((expect & mask) << w->shift));
    const char *format =
        "{\"op\":\"rmw\",\"at\":\"%s\",\"how\":\"%s\",\"value\":%llu,\"mask\":%llu%s,\"order\":\"%s\"}";
    uint64_t left = w->left & asked;
    uint64_t old = result_of(INTEGER, w->touched ? &left : NULL, format, w->name, how_name[how], (unsigned long long)bits,
                          (unsigned long long)asked, expected, order)
                       ->number;
    if (old & ~asked)
        give_up("result %lu, an rmw of %s, has bits outside of the mask %#llx", run.operations - 1, w->name,
                    (unsigned long long)asked);
    leave(w, asked, combine(how, old, bits, (expect & mask) << w->shift));
    return old >> w->shift;
}

/* An atomic on a shared word; its value counts from its own first byte. Private ones are done where they are called. */
static uint64_t shared_rmw(const volatile void *at, size_t size, enum intack_how how, uint64_t value, uint64_t expect,
                           int order)
{
    uint64_t mask = 0;
    struct word *w = word_of(at, size, &mask);
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
    struct word *w = word_of(at, size, &mask);
    store(w, mask, value << __builtin_ctzll(mask) & mask, order_of(order));
}

/* Whether an atomic has to be an operation; if not, what was written before it is settled here. */
static bool atomic_is_shared(const volatile void *at, size_t size, int how)
{
    if (!run.on)
        return false;
    settle();
    return touched(at, size, how);
}

__extension__ typedef unsigned __int128 word128;

#define FETCH(bits, type, name, how, operand, result) \
    type __tsan_atomic##bits##_##name(volatile type *at, type value, int order) \
    { \
        HERE; \
        if (atomic_is_shared(at, sizeof *at, READ) || atomic_is_shared(at, sizeof *at, WRITE)) \
            return (type)shared_rmw(at, sizeof *at, how, (uint64_t)(operand), 0, order); \
        type old = *at; \
        *at = (type)(result); \
        return old; \
    }
#define COMPARE(bits, type, strength) \
    int __tsan_atomic##bits##_compare_exchange_##strength(volatile type *at, type *expect, type value, int order, \
                                                          int failed) \
    { \
        HERE; \
        (void)failed; \
        type wanted = *expect; \
        *expect = exchange_if##bits(at, wanted, value, order); \
        return *expect == wanted; \
    }
#define ATOMICS(bits, type) \
    static type load##bits(const volatile type *at, int order) \
    { \
        return atomic_is_shared(at, sizeof *at, READ) ? (type)shared_load(at, sizeof *at, order) : *at; \
    } \
    static type exchange_if##bits(volatile type *at, type expect, type value, int order) \
    { \
        if (atomic_is_shared(at, sizeof *at, READ)) \
            return (type)shared_rmw(at, sizeof *at, INTACK_CAS, (uint64_t)value, (uint64_t)expect, order); \
        type old = *at; \
        if (old == expect) { \
            atomic_is_shared(at, sizeof *at, WRITE); \
            *at = value; \
        } \
        return old; \
    } \
    type __tsan_atomic##bits##_load(const volatile type *at, int order) \
    { \
        HERE; \
        return load##bits(at, order); \
    } \
    void __tsan_atomic##bits##_store(volatile type *at, type value, int order) \
    { \
        HERE; \
        if (atomic_is_shared(at, sizeof *at, WRITE)) \
            shared_store(at, sizeof *at, (uint64_t)value, order); \
        else \
            *at = value; \
    } \
    type __tsan_atomic##bits##_compare_exchange_val(volatile type *at, type expect, type value, int order, int failed) \
    { \
        HERE; \
        (void)failed; \
        return exchange_if##bits(at, expect, value, order); \
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
        HERE; \
        for (type old = load##bits(at, __ATOMIC_RELAXED);;) { \
            type found = exchange_if##bits(at, old, (type) ~(old & value), order); \
            if (found == old) \
                return old; \
            old = found; \
        } \
    }

ATOMICS(8, uint8_t)
ATOMICS(16, uint16_t)
ATOMICS(32, uint32_t)
ATOMICS(64, uint64_t)
ATOMICS(128, word128)

static void fence(const char *kind) { perform(NONE, "{\"op\":\"fence\",\"kind\":\"%s\"}", kind); }

void __tsan_atomic_thread_fence(int order)
{
    HERE;
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

void intack_fail(const char *format, ...)
{
    char what[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    HERE;
    give_up("%s", what);
}

/* ---- intack.h: operations ---------------------------------------------------------------------------------------- */

static const char *truth(bool value) { return value ? "true" : "false"; }

static const char *name_in(const struct named *table, size_t count, const volatile void *at)
{
    for (size_t i = 0; i < count; i++)
        if (table[i].at == at)
            return table[i].name;
    return NULL;
}

const char *intack_name_of(const volatile void *object)
{
    const char *name = name_in(named, names, object);
    if (!name)
        give_up("an object has no name: describe it, or give it one with intack_name()");
    return name;
}

static const char *lock_name(const volatile void *at)
{
    const char *name = name_in(lock, locks, at);
    if (!name)
        give_up("no lock at this address: describe it, or declare it with intack_share_lock()");
    return name;
}

#define YES_OR_NO(text) perform(BOOL, text, truth(on))->number
bool intack_interrupts(bool on) { HERE; return YES_OR_NO("{\"op\":\"interrupts\",\"on\":%s}"); }
void intack_preemption(bool on) { HERE; perform(NONE, "{\"op\":\"preemption\",\"on\":%s}", truth(on)); }
void intack_atomic(bool on) { HERE; perform(NONE, "{\"op\":\"atomic\",\"on\":%s}", truth(on)); }
void intack_lock(const volatile void *at) { HERE; perform(NONE, "{\"op\":\"lock\",\"at\":\"%s\"}", lock_name(at)); }
void intack_unlock(const volatile void *at) { HERE; perform(NONE, "{\"op\":\"unlock\",\"at\":\"%s\"}", lock_name(at)); }
void intack_prepare_to_block(void) { HERE; perform(NONE, "{\"op\":\"prepare_to_block\"}"); }
void intack_finish_block(void) { HERE; perform(NONE, "{\"op\":\"finish_block\"}"); }
void intack_schedule(void) { HERE; perform(NONE, "{\"op\":\"schedule\"}"); }
void intack_relax(void) { HERE; perform(NONE, "{\"op\":\"relax\"}"); }
void intack_deliver(unsigned vector) { HERE; perform(NONE, "{\"op\":\"deliver\",\"vector\":%u}", vector); }
unsigned intack_cpu_id(void) { HERE; return (unsigned)perform(INTEGER, "{\"op\":\"cpu_id\"}")->number; }
void intack_fence(void) { HERE; fence("full"); }
void intack_load_fence(void) { HERE; fence("load"); }
void intack_store_fence(void) { HERE; fence("store"); }

static void asserted(const char *format, va_list arguments)
{
    char what[512], text[1100];
    vsnprintf(what, sizeof what, format, arguments);
    quoted(text, sizeof text, what);
    perform(NONE, "{\"op\":\"assert\",\"what\":\"%s\"}", text);
}

void intack_assert_failed(const char *what, ...)
{
    HERE;
    va_list arguments;
    va_start(arguments, what);
    asserted(what, arguments);
    va_end(arguments);
}

void intack_oops(const char *what, ...)
{
    HERE;
    va_list arguments;
    va_start(arguments, what);
    asserted(what, arguments);
    va_end(arguments);
    finish();
}

void intack_assert_held(const volatile void *at)
{
    HERE;
    perform(NONE, "{\"op\":\"assert\",\"what\":\"lock held\",\"held\":\"%s\"}", lock_name(at));
}

void intack_assert_interrupts(bool on)
{
    HERE;
    perform(NONE, "{\"op\":\"assert\",\"what\":\"interrupts %s\",\"interrupts\":%s}", on ? "on" : "off", truth(on));
}

bool intack_wake(const volatile void *thread)
{
    HERE;
    return perform(BOOL, "{\"op\":\"wake\",\"thread\":\"%s\"}", intack_name_of(thread))->number;
}

void intack_send_ipi(unsigned vector, int64_t to)
{
    HERE;
    char destination[32] = "null";
    if (to != INTACK_SELF)
        snprintf(destination, sizeof destination, "%lld", (long long)to);
    perform(NONE, "{\"op\":\"send_ipi\",\"vector\":%u,\"to\":%s}", vector, destination);
}

unsigned intack_choose(unsigned options, ...)
{
    HERE;
    char text[1024] = "";
    size_t n = 0;
    va_list arguments;
    va_start(arguments, options);
    for (unsigned i = 0; i < options && n < sizeof text; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s\"%s\"", i ? "," : "", va_arg(arguments, const char *));
    va_end(arguments);
    uint64_t taken = perform(INTEGER, "{\"op\":\"choose\",\"options\":[%s]}", text)->number;
    if (taken >= options)
        give_up("option %llu is taken of %u", (unsigned long long)taken, options);
    return (unsigned)taken;
}

static struct intack_tuple tuple_of(const struct token *open)
{
    struct intack_tuple value = {0};
    for (const struct token *t = open + 1; t->kind != CLOSE; t++) {
        if ((t->kind != STRING && t->kind != INTEGER) || value.length == INTACK_TUPLE_MAX)
            give_up("a tuple is not of at most %d integers and names", INTACK_TUPLE_MAX);
        value.item[value.length++] = (struct intack_item){(int64_t)t->number, t->kind == STRING ? t->text : NULL};
    }
    return value;
}

static const char *tuple_text(const struct intack_tuple *value, char *text, size_t room)
{
    size_t n = 0;
    text[0] = 0;
    for (size_t i = 0; i < value->length && i < INTACK_TUPLE_MAX && n < room; i++) {
        const struct intack_item *item = &value->item[i];
        if (item->name)
            n += (size_t)snprintf(text + n, room - n, "%s\"%s\"", i ? "," : "", item->name);
        else
            n += (size_t)snprintf(text + n, room - n, "%s%lld", i ? "," : "", (long long)item->number);
    }
    return text;
}

struct intack_tuple intack_enter_guest(const volatile void *vcpu)
{
    HERE;
    return tuple_of(perform(OPEN, "{\"op\":\"enter_guest\",\"vcpu\":\"%s\"}", intack_name_of(vcpu)));
}

void intack_exit_guest(const struct intack_tuple *reason)
{
    HERE;
    char text[512];
    perform(NONE, "{\"op\":\"exit_guest\",\"reason\":[%s]}", tuple_text(reason, text, sizeof text));
}

/* The declared word that begins here and has these bits, or NULL in private memory: code uses the same function for both. */
static struct word *word_at(const volatile void *at, uint64_t mask)
{
    if (!run.on)
        return NULL;
    settle();
    for (struct word *w = word; w < word + words; w++)
        if (w->at == (uintptr_t)at && (w->bytes == 8 || mask >> 8 * w->bytes == 0))
            return w;
    if (shared(at, 8))
        give_up("an instruction on some bits of a word needs the address where a shared 64-bit word begins");
    return NULL;
}

uint64_t intack_load(const volatile void *at, uint64_t mask)
{
    HERE;
    struct word *w = word_at(at, mask);
    return w ? load(w, mask, "plain") : *(const volatile uint64_t *)at & mask;
}

uint64_t intack_rmw(volatile void *at, enum intack_how how, uint64_t value, uint64_t mask)
{
    HERE;
    struct word *w = word_at(at, mask);
    if (how == INTACK_CAS)
        give_up("intack_rmw has no argument for what a cas expects: use an atomic of the language");
    if (w)
        return rmw(w, mask, how, value, 0, "seq_cst");
    uint64_t old = *(volatile uint64_t *)at;
    *(volatile uint64_t *)at = (old & ~mask) | (combine(how, old, value, 0) & mask);
    return old & mask;
}

static const char *list_name(const volatile void *at)
{
    const char *name = name_in(list, lists, at);
    if (!name)
        give_up("no list location at this address: describe it, or declare it with intack_share_list()");
    return name;
}

int intack_list_of(const volatile void *object, size_t count, const void *const among[])
{
    HERE;
    char text[4096] = "";
    size_t n = 0;
    for (size_t i = 0; i < count && n < sizeof text; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s\"%s\"", i ? "," : "", list_name(among[i]));
    return (int)perform(INTEGER, "{\"op\":\"list_of\",\"name\":\"%s\",\"lists\":[%s]}", intack_name_of(object),
                        text)->number;
}

static void *object_named(const char *name)
{
    for (size_t i = 0; i < names; i++)
        if (!strcmp(named[i].name, name))
            return (void *)named[i].at;
    give_up("no object has the name %s: describe it, or give it one with intack_name()", name);
}

struct intack_list intack_list_load(const volatile void *at)
{
    HERE;
    struct intack_list value = {0};
    const char *name = list_name(at);
    const struct token *result = perform(OPEN, "{\"op\":\"load\",\"at\":\"%s\"}", name);
    for (result++; result->kind != CLOSE; result++) {
        if (result->kind != STRING || value.length == INTACK_LIST_MAX)
            give_up("result %lu, a load of %s, is not a tuple of at most %d names", run.operations - 1, name,
                        INTACK_LIST_MAX);
        value.item[value.length++] = object_named(result->text);
    }
    return value;
}

void intack_list_store(const volatile void *at, const struct intack_list *value)
{
    HERE;
    char items[4096] = "";
    size_t n = 0;
    const char *name = list_name(at);
    for (size_t i = 0; i < value->length && n < sizeof items; i++)
        n += (size_t)snprintf(items + n, sizeof items - n, "%s\"%s\"", i ? "," : "", intack_name_of(value->item[i]));
    perform(NONE, "{\"op\":\"store\",\"at\":\"%s\",\"value\":[%s]}", name, items);
}

/* ---- intack.h: arguments, Return, scenario ----------------------------------------------------------------------- */

static size_t length_of(const struct token *first)
{
    size_t count = 0;
    for (; first->kind != CLOSE; first = behind(first))
        count++;
    return count;
}

static const struct token *argument(unsigned index, enum kind kind, const char *wanted)
{
    const struct token *found = run.argument;
    if (index >= length_of(found))
        give_up("argument %u is missing: %s is expected", index, wanted);
    while (index--)
        found = behind(found);
    if (found->kind != kind)
        give_up("argument %zu is not %s", (size_t)0 + length_of(run.argument) - length_of(found), wanted);
    return found;
}

unsigned intack_arguments(void) { return (unsigned)length_of(run.argument); }
bool intack_bool_argument(unsigned index) { return argument(index, BOOL, "a bool")->number; }
int64_t intack_integer_argument(unsigned index) { return (int64_t)argument(index, INTEGER, "an integer")->number; }
void *intack_object_argument(unsigned index) { return object_named(argument(index, STRING, "a name")->text); }
const char *intack_string_argument(unsigned index) { return argument(index, STRING, "a name")->text; }
struct intack_tuple intack_tuple_argument(unsigned index) { return tuple_of(argument(index, OPEN, "a tuple")); }

void intack_return_bool(bool value) { snprintf(run.value, sizeof run.value, "%s", truth(value)); }
void intack_return_integer(uint64_t value) { snprintf(run.value, sizeof run.value, "%llu", (unsigned long long)value); }
void intack_return_tuple(const struct intack_tuple *value)
{
    char text[512];
    snprintf(run.value, sizeof run.value, "[%s]", tuple_text(value, text, sizeof text));
}

INTACK_PRINTF(1, 2) static void then(const char *format, ...)
{
    size_t used = strlen(run.then), room = sizeof run.then - used;
    va_list arguments;
    va_start(arguments, format);
    if ((size_t)vsnprintf(run.then + used, room, format, arguments) >= room)
        give_up("the next routine and its arguments are longer than %zu characters", sizeof run.then);
    va_end(arguments);
}

void intack_then(const char *name)
{
    run.then[0] = 0;
    then("\"%s\"", name);
}
void intack_then_bool(bool value) { then(",%s", truth(value)); }
void intack_then_integer(int64_t value) { then(",%lld", (long long)value); }
void intack_then_object(const volatile void *object) { then(",\"%s\"", intack_name_of(object)); }
void intack_then_item(struct intack_item item)
{
    if (item.name)
        then(",\"%s\"", item.name);
    else
        intack_then_integer(item.number);
}

unsigned intack_vcpus(void) { return world.vcpus ? (unsigned)length_of(world.vcpus + 1) : 0; }
unsigned intack_cpus(void) { return world.cpus; }
unsigned intack_vectors(void) { return world.vectors ? (unsigned)length_of(world.vectors + 1) : 0; }
unsigned intack_vector(unsigned index)
{
    if (index >= intack_vectors())
        give_up("the scenario has no vector %u", index);
    return (unsigned)world.vectors[1 + index].number;
}
bool intack_fact(const char *name)
{
    for (const struct token *fact = world.facts; fact && (++fact)->kind == STRING;)
        if (!strcmp(fact->text, name))
            return true;
    return false;
}

/* ---- intack.h: set-up -------------------------------------------------------------------------------------------- */

/* A name goes into answers and questions as it is, so it must need no escapes there. */
static const char *keep_name(const char *format, va_list arguments)
{
    char *name;
    if (vasprintf(&name, format, arguments) < 0)
        give_up("no memory for names");
    for (const char *c = name; *c; c++)
        if (*c <= ' ' || *c > '~' || *c == '"' || *c == '\\')
            give_up("the name '%s' must have only printable characters, no space, quote or backslash", name);
    return name;
}

static struct named *new_named(struct named *table, size_t *count, const char *what)
{
    if (*count == OBJECTS)
        give_up("more than %d %s", OBJECTS, what);
    return &table[(*count)++];
}

static struct word *add_word(uintptr_t at, size_t bytes, unsigned shift, const char *name)
{
    size_t place = words;
    if (words == WORDS)
        give_up("more than %d shared words", WORDS);
    if (shared((const void *)at, bytes))
        give_up("%s overlaps an object that is already shared", name);
    for (; place && word[place - 1].at > at; place--)
        word[place] = word[place - 1];
    word[place] = (struct word){.at = at, .bytes = bytes, .name = name, .shift = shift};
    words++;
    return &word[place];
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
            give_up("no memory for names");
        add_word((uintptr_t)object + offset, size - offset < 8 ? size - offset : 8, 0, location);
    }
}

void intack_share_part(const volatile void *object, size_t size, unsigned bit, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const char *name = keep_name(format, arguments);
    va_end(arguments);
    if (!size || bit + 8 * size > 64)
        give_up("%s has 64 bits: %zu bytes from bit %u on are none of them", name, size, bit);
    add_word((uintptr_t)object, size, bit, name);
}

void intack_share_pointer(const volatile void *pointer, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add_word((uintptr_t)pointer, sizeof(void *), 0, keep_name(format, arguments))->pointer = true;
    va_end(arguments);
}

#define NAMES_ONE(function, table, count, what) \
    void function(const volatile void *at, const char *format, ...) \
    { \
        va_list arguments; \
        va_start(arguments, format); \
        *new_named(table, &count, what) = (struct named){(const void *)at, keep_name(format, arguments)}; \
        va_end(arguments); \
    }
NAMES_ONE(intack_share_list, list, lists, "lists")
NAMES_ONE(intack_share_lock, lock, locks, "locks")
NAMES_ONE(intack_name, named, names, "names")

void intack_private(const volatile void *object, size_t size)
{
    if (excuses == OBJECTS)
        give_up("more than %d private objects", OBJECTS);
    excused[excuses++] = (struct range){(uintptr_t)object, size};
}

static void add_routine(const char *name, const char *types, void (*start)(void))
{
    if (routines == ROUTINES)
        give_up("more than %d routines", ROUTINES);
    routine[routines++] = (struct routine){name, types, start};
}
void intack_routine(const char *name, void (*start)(void)) { add_routine(name, NULL, start); }

/* ---- the child: one question ------------------------------------------------------------------------------------- */

/* The letters of a type: v nothing, b bool, i or u an integer and its bytes, p an object, s a string. */
static uint64_t passed(unsigned index, const char *type)
{
    switch (*type) {
    case 'b': return intack_bool_argument(index);
    case 'p': return (uintptr_t)intack_object_argument(index);
    case 's': return (uintptr_t)intack_string_argument(index);
    default: return (uint64_t)intack_integer_argument(index);
    }
}

static void call(const struct routine *asked)
{
    uint64_t value[6] = {0};
    unsigned count = 0;
    for (const char *type = asked->types; (type = strchr(type, ' ')); count++) {
        if (count == 6)
            give_up("a function of more than 6 parameters cannot be called");
        value[count] = passed(count, ++type);
    }
    uint64_t (*function)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);
    memcpy(&function, &asked->run, sizeof function);
    uint64_t result = function(value[0], value[1], value[2], value[3], value[4], value[5]);
    unsigned unused = asked->types[1] ? 64 - 8 * (unsigned)(asked->types[1] - '0') : 0;
    switch (*asked->types) {
    case 'b': intack_return_bool((uint8_t)result); break;
    case 'u': intack_return_integer(result << unused >> unused); break;
    case 'i':
        snprintf(run.value, sizeof run.value, "%lld", (long long)((int64_t)(result << unused) >> unused));
        break;
    }
}

static const struct token *member(const struct token *object, const char *key)
{
    for (const struct token *t = object + 1; t->kind != CLOSE; t = behind(t + 1))
        if (!strcmp(t->text, key))
            return t + 1;
    return NULL;
}

static void answer(const struct token *question)
{
    const struct token *name = member(question, "routine"), *arguments = member(question, "arguments"),
                       *results = member(question, "results"), *follow = member(question, "follow");
    run.on = true;
    run.calls = 0;
    strcpy(run.value, "null");
    if (!name || !arguments || !results || name->kind != STRING || arguments->kind != OPEN || results->kind != OPEN)
        give_up("the question is not complete");
    run.argument = arguments + 1;
    run.next = results + 1;
    run.follow = follow && follow->kind == OPEN ? follow + 1 : NULL;
    run.routine = routine;
    while (run.routine < routine + routines && strcmp(run.routine->name, name->text))
        run.routine++;
    if (run.routine == routine + routines) {
        char offered[1024] = "";
        for (size_t i = 0, n = 0; i < routines && n < sizeof offered; i++)
            n += (size_t)snprintf(offered + n, sizeof offered - n, "%s%s", i ? ", " : "", routine[i].name);
        give_up("the program has no routine of this name; it has %s", routines ? offered : "none");
    }
    for (struct word *w = word; w < word + words; w++)
        w->known = peek(w, ~0ull);
    if (run.routine->types)
        call(run.routine);
    else
        run.routine->run();
    finish();
}

/* The routine returns. */
_Noreturn static void finish(void)
{
    settle();
    look_for_strays();
    if (run.next->kind != CLOSE && !run.ahead)
        give_up("the routine returns after %lu operations, but there are more results than that", run.operations);
    char text[sizeof run.then + sizeof run.value + 64];
    tell(text, snprintf(text, sizeof text, "{\"op\":\"return\",\"then\":[%s],\"value\":%s}", run.then, run.value));
    _exit(0);
}

/* ---- the parent: lines of JSON ----------------------------------------------------------------------------------- */

/* The tokens of a line, strings ended in place. Names need no escapes, so there are none. */
static struct token *parse(char *line)
{
    size_t count = 0, room = 0, depth = 0;
    struct token *token = NULL;

    for (char *c = line; *c;) {
        if (strchr(" \t\r\n,:", *c)) {
            c++;
            continue;
        }
        if (count + 2 > room && !(token = realloc(token, (room = 2 * room + 64) * sizeof *token)))
            give_up("no memory for the line");
        struct token *t = &token[count++];
        *t = (struct token){NONE, 0, c};
        if (*c == '{' || *c == '[') {
            t->kind = OPEN;
            depth++, c++;
        } else if (*c == '}' || *c == ']') {
            t->kind = CLOSE;
            if (!depth--)
                give_up("the line closes more than it opens");
            c++;
        } else if (*c == '"') {
            t->kind = STRING;
            t->text = ++c;
            while (*c && *c != '"' && *c != '\\')
                c++;
            if (*c != '"')
                give_up("a string has an escape, or no end");
            *c++ = 0;
            if (!strncmp(t->text, "0x", 2)) {
                t->kind = INTEGER;
                t->number = strtoull(t->text, NULL, 16);
            }
        } else if (*c == 't' || *c == 'f') {
            t->kind = BOOL;
            t->number = *c == 't';
            c += *c == 't' ? 4 : 5;
        } else if (*c == 'n')
            c += 4;
        else if (*c == '-' || (*c >= '0' && *c <= '9')) {
            t->kind = INTEGER;
            t->number = strtoull(c, &c, 10); /* of a negative number, its two's complement */
        } else
            give_up("the line is not JSON at '%.20s'", c);
    }
    if (depth || !count || token->kind != OPEN)
        give_up("the line is not one object");
    return token;
}

/* A row of the layout: kind, address, bytes, name, types. */
static void lay_out(const struct token *row)
{
    const char *kind = row[1].text, *name = row[4].text;
    void *at = (void *)(uintptr_t)row[2].number;
    size_t bytes = row[3].number;
    if (!strcmp(kind, "word"))
        add_word((uintptr_t)at, bytes, 0, name);
    else if (!strcmp(kind, "list"))
        *new_named(list, &lists, "lists") = (struct named){at, name};
    else if (!strcmp(kind, "lock"))
        *new_named(lock, &locks, "locks") = (struct named){at, name};
    else if (!strcmp(kind, "object"))
        *new_named(named, &names, "names") = (struct named){at, name};
    else if (!strcmp(kind, "private"))
        intack_private(at, bytes);
    else if (!strcmp(kind, "routine")) {
        void (*start)(void);
        memcpy(&start, &at, sizeof start);
        add_routine(name, row[5].text, start);
    } else
        give_up("the layout has a row of the unknown kind %s", kind);
}

static const char *architecture = "";
void intack_architecture(const char *name) { architecture = name; }

void intack_setup(void) __attribute__((weak));

static void greet(const struct token *hello)
{
    const struct token *version = member(hello, "version"), *given = member(hello, "world"),
                       *rows = member(hello, "layout"), *limit = member(hello, "limit_ms");
    if (world.greeted)
        give_up("it was greeted before");
    if (!version || version->number != 1)
        give_up("it speaks version 1 of the protocol");
    world.greeted = true;
    if (limit)
        limit_ms = limit->number;
    if (given) {
        world.vcpus = member(given, "vcpus");
        world.vectors = member(given, "vectors");
        world.facts = member(given, "facts");
        world.cpus = member(given, "cpus") ? (unsigned)member(given, "cpus")->number : 0;
    }
    for (const struct token *row = rows ? rows + 1 : NULL; row && row->kind != CLOSE; row = behind(row))
        lay_out(row);
    if (intack_setup)
        intack_setup();
    char text[1 << 14];
    size_t n = (size_t)snprintf(text, sizeof text, "{\"type\":\"hello\",\"version\":1,\"architecture\":\"%s\","
                                "\"routines\":[", architecture);
    for (size_t i = 0; i < routines && n < sizeof text; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s\"%s\"", i ? "," : "", routine[i].name);
    if (n < sizeof text)
        n += (size_t)snprintf(text + n, sizeof text - n, "]}\n");
    send_all(text, n);
}

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
    page->length = (size_t)failure(kind, what, page->pc, callers(page->caller, page->calls, ","), page->after, 0);
}

/* Remembers where the program was, and lets the signal end it. */
static void caught(int signal_number, siginfo_t *info, void *context)
{
    ucontext_t *machine = context;
    (void)info;
#if defined __x86_64__ && defined __linux__
    page->pc = (const void *)machine->uc_mcontext.gregs[REG_RIP];
#elif defined __aarch64__ && defined __linux__
    page->pc = (const void *)machine->uc_mcontext.pc;
#else
    (void)machine;
#endif
    memcpy(page->caller, run.caller, sizeof run.caller);
    page->calls = run.calls;
    raise(signal_number);
}

static void catch_signals(void)
{
    static const int fatal[] = {SIGALRM, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
    static char stack[1 << 14] __attribute__((aligned(16)));
    struct sigaction action = {.sa_sigaction = caught, .sa_flags = SA_SIGINFO | SA_ONSTACK | (int)SA_RESETHAND};
    stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};
    sigaltstack(&other, NULL);
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++)
        sigaction(fatal[i], &action, NULL);
    signal(SIGCHLD, SIG_DFL);
}

/* Parent and child take turns: on one CPU neither has to wait for another to wake up. It is the CPU where the parent
 * happens to be, each time anew. */
static void stay(bool here)
{
#ifdef __linux__
    static cpu_set_t all;
    cpu_set_t one;
    if (!CPU_COUNT(&all) && sched_getaffinity(0, sizeof all, &all))
        return;
    CPU_ZERO(&one);
    CPU_SET((size_t)sched_getcpu(), &one);
    sched_setaffinity(0, sizeof one, here ? &one : &all);
#else
    (void)here;
#endif
}

static void step(const struct token *message)
{
    static const char shape[] = "%s{\"results\":[%.*s],\"answers\":[%.*s]}";
    static char *ahead;
    const struct token *id = member(message, "id"), *questions = member(message, "questions");
    if (!world.greeted || !id || !questions || questions->kind != OPEN)
        give_up("a step before hello, or one without id and questions");
    char head[64];
    send_all(head, (size_t)snprintf(head, sizeof head, "{\"type\":\"step\",\"id\":%llu,\"answers\":[",
                                    (unsigned long long)id->number));
    size_t length = 0;
    for (const struct token *question = questions + 1; question->kind != CLOSE; question = behind(question)) {
        int status = 0;
        page->length = page->results = page->further = 0;
        page->pc = page->after = NULL;
        page->calls = 0;
        stay(true);
        pid_t child = fork_limited();
        if (child < 0)
            give_up("fork: %s", strerror(errno));
        if (child == 0) {
            close(answers);
            answer(question);
        }
        while (waitpid(child, &status, 0) < 0 && errno == EINTR)
            ;
        stay(false);
        if (!page->length)
            explain(status);
        page->answer[page->length] = ',';
        send_all(page->answer, page->length + (behind(question)->kind != CLOSE));
        if (member(question, "follow")) {
            if (!(ahead = realloc(ahead, length + 2 * AHEAD + sizeof shape)))
                give_up("no memory for the answers ahead");
            length += (size_t)sprintf(ahead + length, shape, length ? "," : "],\"ahead\":[", (int)page->results,
                                      page->result, (int)page->further, page->ahead);
        }
    }
    send_all(ahead, length);
    send_all("]}\n", 3);
}

int main(int argc, char **argv)
{
    (void)argc;
    fix_addresses(argv);
    end_with_parent();

    /* The program's own output goes to stderr, and it has no input: both pipes are for questions and answers only. */
    FILE *questions = fdopen(fcntl(0, F_DUPFD_CLOEXEC, 3), "r");
    answers = fcntl(1, F_DUPFD_CLOEXEC, 3);
    int nothing = open("/dev/null", O_RDONLY);
    setvbuf(stdout, NULL, _IONBF, 0); /* a run that ends here and now must not keep what it printed */
    page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!questions || answers < 0 || nothing < 0 || dup2(nothing, 0) < 0 || dup2(2, 1) < 0 || page == MAP_FAILED)
        return 2;
    catch_signals();

    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, questions) > 0) {
        char *kept = strdup(line); /* what the first line said stays */
        struct token *message = kept ? parse(kept) : NULL;
        const struct token *type = message ? member(message, "type") : NULL;
        if (!type || type->kind != STRING)
            give_up("the line is no message");
        if (!strcmp(type->text, "hello")) {
            greet(message);
            continue;
        }
        if (strcmp(type->text, "step"))
            break;
        step(message);
        free(message);
        free(kept);
    }
    return 0;
}

/*
 * intack.h: how a C program is asked by the conformance suite.
 *
 * The code under test is compiled with -fsanitize=thread and linked with runtime.c. Every access to an object declared
 * with intack_share() then becomes an operation of conformance/engine/operations.py, performed by the suite; all other
 * memory is private and just works. What no compiler sees (interrupts, locks, wake-ups) is asked for with the functions
 * below.
 *
 * A routine is run from its start once for each question, in a process of its own: static data are clean every time,
 * addresses are the same every time. Beyond declared objects it must be deterministic.
 *
 * Inline assembly, library functions other than memcpy, memmove and memset, calls that return a struct into memory, and
 * code compiled without the flag have no hooks. Writes of theirs to declared objects are reported as an error; reads
 * cannot be noticed, so keep them out.
 */
#ifndef INTACK_H
#define INTACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INTACK_PRINTF(string, first) __attribute__((__format__(printf, string, first)))
#define INTACK_LIST_MAX 16

/* ---- set-up ------------------------------------------------------------------------------------------------------ */

/* Written by the program: declares its routines and objects. Runs once, before any question. */
void intack_setup(void);

/* `run` answers questions about the routine of this name; it fetches its arguments with the functions below. */
void intack_routine(const char *name, void (*run)(void));

/* These bytes are shared: 64-bit locations counted from the start of the object. An object of more than 8 bytes is the
 * locations name[0], name[1], ...; a smaller one is the location `name`. Names are printf formats. */
void intack_share(const volatile void *object, size_t size, const char *name, ...) INTACK_PRINTF(3, 4);

/* The object stands for a location that holds a tuple of names. Its own memory is not looked at. */
void intack_share_list(const void *list, const char *name, ...) INTACK_PRINTF(2, 3);

/* Gives an object the name under which it appears in arguments, lists, locks and threads. */
void intack_name(const void *object, const char *name, ...) INTACK_PRINTF(2, 3);
const char *intack_name_of(const void *object);

/* ---- arguments (no tuples), and what a routine returns ----------------------------------------------------------------------- */

bool intack_bool_argument(unsigned index);
int64_t intack_integer_argument(unsigned index);
void *intack_object_argument(unsigned index); /* the object given this name */

/* The value of the routine's Return; without a call it is None. */
void intack_return_bool(bool value);
void intack_return_integer(uint64_t value);

/* The next routine of this thread, then its arguments in order. */
void intack_then(const char *routine);
void intack_then_integer(int64_t argument);
void intack_then_object(const void *argument);

/* Ends the run with this message: the program met something it cannot go on from. */
_Noreturn void intack_fail(const char *format, ...) INTACK_PRINTF(1, 2);

/* ---- operations that no compiler sees ---------------------------------------------------------------------------- */

#define INTACK_SELF (-1) /* send to the CPU this runs on */

bool intack_interrupts(bool on); /* answers the old flag */
void intack_preemption(bool on);
void intack_send_ipi(unsigned vector, int64_t to);
void intack_lock(const char *name);
void intack_unlock(const char *name);
bool intack_wake(const char *thread); /* answers whether it did */
void intack_relax(void);
unsigned intack_cpu_id(void);
void intack_fence(void);

/* An instruction that looks at, or changes, some bits only (x86: lock bts). `at` is a 64-bit word, declared or
 * private, and only the bits of `mask` are answered; a compiler would have to show the whole word. */
enum intack_how { INTACK_SWAP, INTACK_OR, INTACK_AND, INTACK_XOR, INTACK_ADD, INTACK_CAS };
uint64_t intack_load(const volatile void *at, uint64_t mask);
uint64_t intack_rmw(volatile void *at, enum intack_how how, uint64_t value, uint64_t mask);

/* A list location, as a whole: its items are objects that have names. */
struct intack_list {
    size_t length;
    void *item[INTACK_LIST_MAX];
};
struct intack_list intack_list_load(const void *list);
void intack_list_store(const void *list, const struct intack_list *value);

#endif

/*
 * intack.h: how a native program is asked by the conformance suite. C11 or C++; from Rust, declare what you need.
 *
 * The code under test is compiled with -fsanitize=thread and linked with runtime.c. Every access to a shared object then
 * becomes an operation of conformance/roles/operations.py, performed by the suite; all other memory is private and just
 * works. Which objects are shared and which functions are routines, a description says (intack build --help) or
 * intack_setup() below. What no compiler sees (interrupts, locks, wake-ups) is asked for with the functions here.
 *
 * A routine is run from its start once for each question, in a process of its own: static data are clean every time,
 * addresses are the same every time. Beyond shared objects it must be deterministic, and static data that one call
 * leaves for another must be shared: where that is not so, it is an error that names both places.
 *
 * Inline assembly, library functions other than memcpy, memmove and memset, calls that return a struct into memory, and
 * code compiled without the flag have no hooks. Writes of theirs to shared objects are reported as an error; reads
 * cannot be noticed, so keep them out.
 */
#ifndef INTACK_H
#define INTACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define INTACK_PRINTF(string, first) __attribute__((__format__(printf, string, first)))
#define INTACK_NORETURN __attribute__((__noreturn__))
#define INTACK_LIST_MAX 16
#define INTACK_TUPLE_MAX 8

/* ---- operations that no compiler sees ---------------------------------------------------------------------------- */

#define INTACK_SELF (-1) /* send to the CPU this runs on */

bool intack_interrupts(bool on); /* answers the old flag */
void intack_preemption(bool on);
void intack_send_ipi(unsigned vector, int64_t to);
void intack_lock(const volatile void *lock);
void intack_unlock(const volatile void *lock);
void intack_prepare_to_block(void);
void intack_finish_block(void);
void intack_schedule(void);
bool intack_wake(const volatile void *thread); /* answers whether it did */
void intack_relax(void);
unsigned intack_cpu_id(void);
void intack_fence(void); /* full; the compiler shows acquire and release fences */
void intack_load_fence(void);
void intack_store_fence(void);
unsigned intack_choose(unsigned options, ...); /* names, const char *; answers the index of the one taken */

/* An instruction that looks at, or changes, some bits only (x86: lock bts). `at` is a 64-bit word, shared or private,
 * and only the bits of `mask` are answered; a compiler would have to show the whole word. */
enum intack_how { INTACK_SWAP, INTACK_OR, INTACK_AND, INTACK_XOR, INTACK_ADD, INTACK_CAS };
uint64_t intack_load(const volatile void *at, uint64_t mask);
uint64_t intack_rmw(volatile void *at, enum intack_how how, uint64_t value, uint64_t mask);

/* A list location, as a whole: its items are objects that have names. */
struct intack_list {
    size_t length;
    void *item[INTACK_LIST_MAX];
};
struct intack_list intack_list_load(const volatile void *list);
void intack_list_store(const volatile void *list, const struct intack_list *value);
int intack_list_of(const volatile void *object, size_t count, const void *const lists[]); /* on which it is, or -1 */

/* An exit reason, or another tuple: integers, and names where `name` is not NULL. */
struct intack_item {
    int64_t number;
    const char *name;
};
struct intack_tuple {
    size_t length;
    struct intack_item item[INTACK_TUPLE_MAX];
};
struct intack_tuple intack_enter_guest(const volatile void *vcpu); /* answers the reason of the exit that ends it */

/* Hardware only. */
void intack_atomic(bool on);
void intack_deliver(unsigned vector);
void intack_exit_guest(const struct intack_tuple *reason);

/* Assertions of the code itself. What fails is a violation, told with its line: ASSERTION, or RACE for a lock that is not
 * held. `intack_assert_failed` goes on, as WARN does; `intack_oops` ends the routine there and then, as BUG does. */
void intack_assert_failed(const char *what, ...) INTACK_PRINTF(1, 2);
INTACK_NORETURN void intack_oops(const char *what, ...) INTACK_PRINTF(1, 2);
void intack_assert_held(const volatile void *lock);
void intack_assert_interrupts(bool on);

/* Ends the run with this message: the program met something it cannot go on from. */
INTACK_NORETURN void intack_fail(const char *format, ...) INTACK_PRINTF(1, 2);

/* ---- what a routine returns -------------------------------------------------------------------------------------- */

/* The next routine of this thread, then its arguments in order. */
void intack_then(const char *routine);
void intack_then_bool(bool argument);
void intack_then_integer(int64_t argument);
void intack_then_object(const volatile void *argument);
void intack_then_item(struct intack_item argument);

/* The value of the routine's Return; without a call it is what the described function returns, or None. */
void intack_return_bool(bool value);
void intack_return_integer(uint64_t value);
void intack_return_tuple(const struct intack_tuple *value);

/* ---- the scenario ------------------------------------------------------------------------------------------------ */

unsigned intack_vcpus(void);
unsigned intack_cpus(void);
unsigned intack_vectors(void);
unsigned intack_vector(unsigned index);
bool intack_fact(const char *name);

/* ---- set-up by the program itself, instead of or beside a description -------------------------------------------- */

/* Written by the program: declares its routines and objects. Runs once, before any question. */
void intack_setup(void);

/* Whose routines these are, where their names do not tell: "x86" or "arm". */
void intack_architecture(const char *name);

/* `run` answers questions about the routine of this name; it fetches its arguments with the functions below. */
void intack_routine(const char *name, void (*run)(void));

bool intack_bool_argument(unsigned index);
int64_t intack_integer_argument(unsigned index);
void *intack_object_argument(unsigned index); /* the object given this name */
const char *intack_string_argument(unsigned index);
struct intack_tuple intack_tuple_argument(unsigned index);
unsigned intack_arguments(void); /* how many there are */

/* These bytes are shared: 64-bit locations counted from the start of the object. An object of more than 8 bytes is the
 * locations name[0], name[1], ...; a smaller one is the location `name`. Names are printf formats. */
void intack_share(const volatile void *object, size_t size, const char *name, ...) INTACK_PRINTF(3, 4);

/* These bytes are the bits of the location `name` from this one on: a register of 64 bits may lie scattered in memory. */
void intack_share_part(const volatile void *object, size_t size, unsigned bit, const char *name, ...) INTACK_PRINTF(4, 5);

/* A pointer to an object that has a name: the location holds that name, as a tuple, and () for NULL. */
void intack_share_pointer(const volatile void *pointer, const char *name, ...) INTACK_PRINTF(2, 3);

/* The object stands for a location that holds a tuple of names, or for a lock. Its own memory is not looked at. */
void intack_share_list(const volatile void *list, const char *name, ...) INTACK_PRINTF(2, 3);
void intack_share_lock(const volatile void *lock, const char *name, ...) INTACK_PRINTF(2, 3);

/* Static data that calls leave for each other on purpose, such as a counter for statistics. */
void intack_private(const volatile void *object, size_t size);

/* Gives an object the name under which it appears in arguments, lists, guests and threads. */
void intack_name(const volatile void *object, const char *name, ...) INTACK_PRINTF(2, 3);
const char *intack_name_of(const volatile void *object);

#ifdef __cplusplus
}
#endif
#endif

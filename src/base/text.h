/* SPDX-License-Identifier: Apache-2.0 */
/* Strict text helpers: what does not fit or does not parse is an answer, never a guess. */
#ifndef MIG_BASE_TEXT_H
#define MIG_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Copies and terminates; false when it was cut. `size` > 0. */
bool mig_text_copy(char *buffer, size_t size, const char *text);

/* Decimal, whole text, no sign, no blanks, at most `max`. */
bool mig_text_parse_u64(const char *text, uint64_t max, uint64_t *ret);

/* As C writes integers: 0x.. hex, 0.. octal, else decimal; whole text, no sign. */
bool mig_text_parse_base0(const char *text, uint64_t max, uint64_t *ret);

/* "true" or "false" for the words that Go programs take for them (1, t, T, TRUE, ...); else NULL. */
const char *mig_text_switch(const char *text);

bool mig_text_starts_with(const char *text, const char *prefix);
bool mig_text_equal_nocase(const char *a, const char *b);

/* Edit distance of two short words, for "did you mean"; stops counting at `limit`. */
unsigned mig_text_distance(const char *a, const char *b, unsigned limit);

#endif

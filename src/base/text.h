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

/* "true" or "false" for the words that Go programs take for them (1, t, T, TRUE, ...); else NULL.
 */
const char *mig_text_switch(const char *text);

bool mig_text_starts_with(const char *text, const char *prefix);
bool mig_text_equal_nocase(const char *a, const char *b);

/* Bytes of the character at `text` (which is not at its end); 0 when that is not UTF-8. */
size_t mig_text_utf8_length(const char *text);
bool mig_text_is_utf8(const char *text);

/* Puts '?' for each byte that is not of a character, as where a text was cut in the middle of one:
 * JSON and YAML do not take those. */
void mig_text_make_utf8(char *text);

/* Edit distance of two short words, for "did you mean"; stops counting at `limit`. */
unsigned mig_text_distance(const char *a, const char *b, unsigned limit);

#endif

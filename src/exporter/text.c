/* SPDX-License-Identifier: Apache-2.0 */
/* Escapes and numbers of Prometheus' text format. Nothing here depends on the locale. */
#include "exporter/text.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

void mig_text_family(struct mig_buffer *out, const char *name, const char *type, const char *help)
{
    mig_buffer_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void mig_text_label(struct mig_buffer *out, size_t start, const char *name, const char *value)
{
    mig_buffer_printf(out, "%s%s=\"", out->size > start ? "," : "", name);
    for (;;) {
        size_t plain = strcspn(value, "\\\"\n");

        mig_buffer_append(out, value, plain);
        value += plain;
        if (*value == '\0') {
            break;
        }
        mig_buffer_puts(out, *value == '\n' ? "\\n" : *value == '"' ? "\\\"" : "\\\\");
        value++;
    }
    mig_buffer_puts(out, "\"");
}

void mig_text_number(struct mig_buffer *out, double value)
{
    char text[40];

    if (isnan(value) || isinf(value)) {
        mig_buffer_puts(out, isnan(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf");
        return;
    }
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, value);
        if (strtod(text, NULL) == value) {
            break;
        }
    }
    for (char *at = text; *at; at++) {
        if (*at == ',') {
            *at = '.'; /* some locales have it so */
        }
    }
    mig_buffer_puts(out, text);
}

void mig_text_scaled(struct mig_buffer *out, int64_t value, int64_t divisor)
{
    uint64_t size = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    uint64_t whole = size / (uint64_t)divisor, rest = size % (uint64_t)divisor;
    int places = 0;

    for (int64_t unit = divisor; unit > 1; unit /= 10) {
        places++;
    }
    mig_buffer_printf(out, "%s%llu", value < 0 ? "-" : "", (unsigned long long)whole);
    if (rest == 0) {
        return;
    }
    mig_buffer_printf(out, ".%0*llu", places, (unsigned long long)rest);
    while (out->error == 0 && out->data[out->size - 1] == '0') {
        out->data[--out->size] = '\0';
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file belongs to migd's unprivileged user, so nothing in it is trusted: it is small, each
 * field has its type, and what is shown on a terminal is cleaned.
 */
#include "cli/manager_word.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "cli/persist.h"
#include <inttypes.h>
#include <string.h>
#include <time.h>

#define WORD_BYTES_MAX 16384u
#define TEXT_SIZE 1200u

json_t *manager_word_read(const struct cli *cli)
{
    MIG_AUTO_FREE char *text = NULL;
    char path[4096];
    size_t size;
    json_t *word;
    int length = snprintf(path, sizeof(path), "%s/agent/manager.json", persist_state_dir(cli));

    if (length < 0 || (size_t)length >= sizeof(path) ||
        mig_file_read(path, WORD_BYTES_MAX, &text, &size, NULL) < 0) {
        return NULL;
    }
    word = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(word) || !json_is_string(json_object_get(word, "state")) ||
        !json_is_string(json_object_get(word, "wanted"))) {
        json_decref(word);
        return NULL;
    }
    return word;
}

static const char *text_of(const json_t *word, const char *key)
{
    const char *text = json_string_value(json_object_get(word, key));

    return text ? text : "";
}

static void since_text(const json_t *word, char *ret, size_t size)
{
    time_t since = (time_t)json_integer_value(json_object_get(word, "since"));
    struct tm parts;

    if (since <= 0 || !gmtime_r(&since, &parts) ||
        strftime(ret, size, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0) {
        ret[0] = '\0';
    }
}

void manager_word_print(const struct cli *cli, const json_t *word)
{
    char clean[TEXT_SIZE], since[32];
    const char *state = text_of(word, "state"), *message = text_of(word, "message");

    since_text(word, since, sizeof(since));
    printf("migd: %s%s%s",
           cli_color(cli, strcmp(state, "failed") == 0 ? CLI_COLOR_ERROR : CLI_COLOR_BOLD),
           state[0] ? cli_clean(clean, sizeof(clean), state) : "nothing is wanted",
           cli_color(cli, CLI_COLOR_NONE));
    if (text_of(word, "wanted")[0]) {
        printf("  %s", cli_clean(clean, sizeof(clean), text_of(word, "wanted")));
    }
    if (since[0]) {
        printf("  since %s", since);
    }
    putchar('\n');
    if (message[0]) {
        printf("  %s\n", cli_clean(clean, sizeof(clean), message));
    }
    if (json_is_true(json_object_get(word, "clients_paused"))) {
        puts("  GPU clients are paused");
    }
}

json_t *manager_word_document(const json_t *word)
{
    json_t *part;
    char since[32];

    if (!word) {
        return json_null();
    }
    since_text(word, since, sizeof(since));
    part = doc_object();
    doc_put_known_text(part, "state", text_of(word, "state"));
    doc_put_known_text(part, "wanted", text_of(word, "wanted"));
    doc_put_known_text(part, "message", text_of(word, "message"));
    doc_put_known_text(part, "since", since);
    doc_put_int(part, "failure_count", json_integer_value(json_object_get(word, "failure_count")));
    doc_put_bool(part, "clients_paused", json_is_true(json_object_get(word, "clients_paused")));
    return part;
}

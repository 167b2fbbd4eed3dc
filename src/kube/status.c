/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Status objects as errors. Texts of the server are shown as they are but for control characters:
 * they end up in logs and terminals.
 */
#include "kube/status.h"
#include "kube/json.h"
#include "kube/policy.h"
#include <string.h>

#define PATH_SHOWN_MAX 160
#define BODY_SHOWN_MAX 200u
#define CAUSES_SHOWN_MAX 8u

static const char *name_of(int status)
{
    static const struct {
        int status;
        const char *name;
    } names[] = {
        {400, "Bad Request"}, {401, "Unauthorized"},        {403, "Forbidden"},
        {404, "Not Found"},   {405, "Method Not Allowed"},  {409, "Conflict"},
        {410, "Gone"},        {413, "Too Large"},           {415, "Unsupported Media Type"},
        {422, "Invalid"},     {429, "Too Many Requests"},   {500, "Internal Server Error"},
        {502, "Bad Gateway"}, {503, "Service Unavailable"}, {504, "Gateway Timeout"},
    };

    for (size_t i = 0; i < MIG_ARRAY_SIZE(names); i++) {
        if (names[i].status == status) {
            return names[i].name;
        }
    }
    return "refused";
}

static const char *hint_of(int status)
{
    switch (status) {
    case 401:
        return "the server does not know this token or client certificate: it may have run out, "
               "or be of another cluster";
    case 403:
        return "a role of this service account or user has to give the right that is named";
    case 415:
    case 405:
        return "the API server is too old for this request, or something else answers at its "
               "address";
    default:
        return "";
    }
}

/* One line of what can be printed. */
static void clean(char *text)
{
    size_t out = 0;
    bool blank = true;

    for (size_t i = 0; text[i]; i++) {
        unsigned char byte = (unsigned char)text[i];

        if (byte > ' ' && byte != 0x7f) {
            text[out++] = text[i];
            blank = false;
        } else if (!blank) {
            text[out++] = ' ';
            blank = true;
        }
    }
    text[out > 0 && text[out - 1] == ' ' ? out - 1 : out] = '\0';
}

static bool is_status(const json_t *object)
{
    return strcmp(mig_kube_json_text(object, "kind", NULL), "Status") == 0;
}

const char *mig_kube_status_reason(const json_t *object)
{
    return is_status(object) ? mig_kube_json_text(object, "reason", NULL) : "";
}

static const json_t *cause_at(const json_t *object, size_t i)
{
    return json_array_get(mig_kube_json_member(object, "details", "causes", NULL), i);
}

bool mig_kube_status_is_budget(const json_t *object)
{
    for (size_t i = 0; i < CAUSES_SHOWN_MAX; i++) {
        if (strcmp(mig_kube_json_text(cause_at(object, i), "reason", NULL), "DisruptionBudget") ==
            0) {
            return is_status(object);
        }
    }
    return false;
}

unsigned mig_kube_status_retry_ms(const json_t *object)
{
    json_int_t seconds =
        json_integer_value(mig_kube_json_member(object, "details", "retryAfterSeconds", NULL));

    if (!is_status(object) || seconds <= 0) {
        return 0;
    }
    return seconds > MIG_KUBE_RETRY_AFTER_MAX_MS / 1000 ? MIG_KUBE_RETRY_AFTER_MAX_MS
                                                        : (unsigned)seconds * 1000;
}

/* Who is in the way, as far as the server says: budgets, managers of fields. */
static void add_causes(struct mig_error *error, const json_t *object)
{
    for (size_t i = 0; i < CAUSES_SHOWN_MAX; i++) {
        const json_t *cause = cause_at(object, i);
        const char *message = mig_kube_json_text(cause, "message", NULL);
        const char *field = mig_kube_json_text(cause, "field", NULL);

        if (*message) {
            mig_error_add_holder(error, "%s%s%s", field, *field ? ": " : "", message);
        }
    }
    clean(error->holders);
}

void mig_kube_status_error(struct mig_error *error, const char *method, const char *path,
                           int status, const json_t *object, const char *body, size_t size)
{
    int path_size = (int)strcspn(path, "?");
    const char *text = is_status(object) ? mig_kube_json_text(object, "message", NULL) : "";
    int text_size = MIG_ERROR_MESSAGE_SIZE;

    if (!*text && !object && body) {
        text = body;
        text_size = (int)(size < BODY_SHOWN_MAX ? size : BODY_SHOWN_MAX);
    }
    mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_HTTP, status, "%s %.*s: %d %s%s%.*s", method,
                  path_size < PATH_SHOWN_MAX ? path_size : PATH_SHOWN_MAX, path, status,
                  name_of(status), *text && text_size > 0 ? ": " : "", text_size, text);
    if (error) {
        clean(error->message);
        if (status == 409 || status == 429) {
            add_causes(error, object);
        }
        mig_error_hint(error, MIG_E_FAILED, "%s", hint_of(status));
    }
}

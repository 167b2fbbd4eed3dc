/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parsing and reading JSON of the API server.
 *
 * jansson has no limit that the caller can choose, so the text is looked over before: nesting and
 * number of values are counted without building anything. The count is right for valid JSON and
 * bounds what is built for any other.
 */
#include "kube/json.h"
#include <stdint.h>
#include <string.h>

struct count {
    size_t depth, deepest, values;
};

/* The index behind the string that starts at `i`. */
static size_t skip_string(const char *text, size_t size, size_t i)
{
    for (i++; i < size && text[i] != '"'; i++) {
        if (text[i] == '\\') {
            i++;
        }
    }
    return i;
}

static struct count count_values(const char *text, size_t size)
{
    struct count count = {0, 0, 1};

    for (size_t i = 0; i < size; i++) {
        switch (text[i]) {
        case '"':
            i = skip_string(text, size, i);
            break;
        case '{':
        case '[':
            count.depth++;
            count.values++;
            if (count.depth > count.deepest) {
                count.deepest = count.depth;
            }
            break;
        case '}':
        case ']':
            count.depth -= count.depth > 0;
            break;
        case ',':
            count.values++;
            break;
        default:
            break;
        }
    }
    return count;
}

int mig_kube_json_parse(const void *bytes, size_t size, json_t **ret, struct mig_error *error)
{
    struct count count = count_values(bytes, size);
    json_error_t problem;

    if (count.deepest > MIG_KUBE_JSON_DEPTH_MAX) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                             "JSON nested deeper than %u levels", MIG_KUBE_JSON_DEPTH_MAX);
    }
    if (count.values > MIG_KUBE_JSON_VALUES_MAX) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                             "JSON with more than %u values", MIG_KUBE_JSON_VALUES_MAX);
    }
    *ret = json_loadb(bytes, size, JSON_ALLOW_NUL, &problem);
    if (!*ret) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0, "not valid JSON: byte %d: %s",
                             problem.position, problem.text);
    }
    return 0;
}

json_t *mig_kube_json_find(const json_t *object, const char *const *names)
{
    for (; object && *names; names++) {
        object = json_object_get(object, *names);
    }
    return (json_t *)(uintptr_t)object; /* jansson's own getters give a writable member too */
}

const char *mig_kube_json_find_text(const json_t *object, const char *const *names)
{
    const char *text = json_string_value(mig_kube_json_find(object, names));

    return text ? text : "";
}

const char *mig_kube_metadata(const json_t *object, const char *name)
{
    return mig_kube_json_text(object, "metadata", name, NULL);
}

const char *mig_kube_label(const json_t *object, const char *key)
{
    return json_string_value(mig_kube_json_member(object, "metadata", "labels", key, NULL));
}

const char *mig_kube_annotation(const json_t *object, const char *key)
{
    return json_string_value(mig_kube_json_member(object, "metadata", "annotations", key, NULL));
}

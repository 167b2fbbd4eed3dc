/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists in pages, so that neither side holds a cluster's pods at once.
 *
 * A continue token lives some minutes; when it has run out (410) the list begins again, and the
 * last time without pages, because a server that is too slow for its own tokens would never end.
 */
#include "base/cleanup.h"
#include "kube/json.h"
#include "kube/objects.h"
#include "kube/path.h"
#include <errno.h>
#include <string.h>

#define PAGE_SIZE 50u /* pods may have thousands of values each */
#define PAGE_SIZE_MAX 500u
#define PAGES_MAX 10000u
#define RESTARTS_MAX 3u

struct mig_kube_list {
    struct mig_kube *kube;
    struct mig_kube_call *call;
    struct mig_kube_list_options options; /* path and selectors are copies */
    char *path, *field_selector, *label_selector;
    char *next; /* continue token; NULL = the first page */
    unsigned restarts, pages;
    bool telling, cancelled; /* cancelled while items are being told */
};

static void free_list(struct mig_kube_list *list)
{
    free(list->path);
    free(list->field_selector);
    free(list->label_selector);
    free(list->next);
    free(list);
}

/* Also when the client is freed. */
static void on_cancelled(void *data)
{
    free_list(data);
}

void mig_kube_list_cancel(struct mig_kube_list *list)
{
    if (!list) {
        return;
    }
    if (list->telling) {
        list->cancelled = true;
    } else {
        mig_kube_cancel(list->call); /* and on_cancelled */
    }
}

static void finish(struct mig_kube_list *list, int status, const char *resource_version,
                   const struct mig_error *error)
{
    list->options.done(status, resource_version, error, list->options.data);
    free_list(list);
}

static int ask(struct mig_kube_list *list, struct mig_error *error);

static void ask_or_finish(struct mig_kube_list *list)
{
    struct mig_error error;

    if (ask(list, &error) < 0) {
        finish(list, 0, "", &error);
    }
}

/* False when the list was cancelled meanwhile; it is gone then. */
static bool tell_items(struct mig_kube_list *list, const json_t *object)
{
    json_t *items = mig_kube_json_member(object, "items", NULL);

    list->telling = true;
    for (size_t i = 0; i < json_array_size(items) && !list->cancelled; i++) {
        list->options.item(json_array_get(items, i), list->options.data);
    }
    list->telling = false;
    if (list->cancelled) {
        free_list(list);
        return false;
    }
    return true;
}

static void begin_again(struct mig_kube_list *list)
{
    list->restarts++;
    list->pages = 0;
    free(MIG_TAKE(list->next));
    if (list->options.restart) {
        list->telling = true;
        list->options.restart(list->options.data);
        list->telling = false;
        if (list->cancelled) {
            free_list(list);
            return;
        }
    }
    ask_or_finish(list);
}

static void finish_wrong(struct mig_kube_list *list, const char *what)
{
    struct mig_error error;

    mig_error_set(&error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0, "GET %s: %s", list->path, what);
    finish(list, 0, "", &error);
}

static void on_page(struct mig_kube_call *call, int status, json_t *object,
                    const struct mig_error *error, void *data)
{
    struct mig_kube_list *list = data;
    const char *next = mig_kube_metadata(object, "continue");

    (void)call;
    list->call = NULL;
    if (status == 410 && list->next && list->restarts < RESTARTS_MAX) {
        begin_again(list);
        return;
    }
    if (error) {
        finish(list, status, "", error);
        return;
    }
    if (!json_is_array(mig_kube_json_member(object, "items", NULL)) &&
        !json_is_null(mig_kube_json_member(object, "items", NULL))) {
        finish_wrong(list, "the answer is no list");
        return;
    }
    if (!tell_items(list, object)) {
        return;
    }
    if (!*next) {
        finish(list, status, mig_kube_metadata(object, "resourceVersion"), NULL);
        return;
    }
    free(list->next);
    list->next = strdup(next);
    if (!list->next || ++list->pages > PAGES_MAX) {
        finish_wrong(list, "the list does not end");
        return;
    }
    ask_or_finish(list);
}

static int ask(struct mig_kube_list *list, struct mig_error *error)
{
    MIG_AUTO_KUBE_PATH struct mig_kube_path path;
    struct mig_kube_request request = {.method = "GET",
                                       .timeout_ms = list->options.timeout_ms,
                                       .retry = MIG_KUBE_RETRY_ALWAYS,
                                       .done = on_page,
                                       .cancelled = on_cancelled,
                                       .data = list};

    mig_kube_path_init(&path, list->path);
    mig_kube_path_query(&path, "fieldSelector", list->field_selector);
    mig_kube_path_query(&path, "labelSelector", list->label_selector);
    if (list->restarts < RESTARTS_MAX) {
        mig_kube_path_query_number(&path, "limit", list->options.page_size);
        mig_kube_path_query(&path, "continue", list->next);
    }
    request.path = mig_kube_path_text(&path, error);
    return request.path ? mig_kube_request(list->kube, &request, &list->call, error) : MIG_E_USAGE;
}

/* NULL stays NULL. */
static bool copy(const char *text, char **ret)
{
    *ret = text ? strdup(text) : NULL;
    return *ret || !text;
}

int mig_kube_list(struct mig_kube *kube, const struct mig_kube_list_options *options,
                  struct mig_kube_list **ret, struct mig_error *error)
{
    struct mig_kube_list *list = calloc(1, sizeof(*list));
    int rc;

    if (!list) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not ask for a list");
    }
    list->kube = kube;
    list->options = *options;
    if (list->options.page_size == 0) {
        list->options.page_size = PAGE_SIZE;
    }
    if (list->options.page_size > PAGE_SIZE_MAX) {
        list->options.page_size = PAGE_SIZE_MAX;
    }
    if (!copy(options->path, &list->path) ||
        !copy(options->field_selector, &list->field_selector) ||
        !copy(options->label_selector, &list->label_selector)) {
        free_list(list);
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not ask for a list");
    }
    rc = ask(list, error);
    if (rc < 0) {
        free_list(list);
        return rc;
    }
    if (ret) {
        *ret = list;
    }
    return 0;
}

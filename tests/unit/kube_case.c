/* SPDX-License-Identifier: Apache-2.0 */
#include "kube_case.h"

void answer_next(struct kube_seen *request, void *data)
{
    struct test *test = data;
    const struct answer *answer = test->answers;

    if (answer[1].body) {
        test->answers++;
    }
    if (answer->status == 0) {
        kube_server_cut(&test->server);
    } else if (answer->status == -2) {
        kube_reset(request);
    } else if (answer->status > 0) {
        kube_answer(request, answer->status, answer->retry_after, "%s", answer->body);
    }
}

void start(struct test *test, const struct answer *answers)
{
    *test = (struct test){.answers = answers};
    kube_server_start(&test->server, answer_next, test);
    test->kube = kube_server_client(&test->server, "secret", NULL);
}

void stop(struct test *test)
{
    mig_kube_free(test->kube);
    json_decref(test->object);
    kube_server_stop(&test->server);
}

void on_done(struct mig_kube_call *call, int status, json_t *object, const struct mig_error *error,
             void *data)
{
    struct test *test = data;

    (void)call;
    test->done++;
    test->status = status;
    json_decref(test->object);
    test->object = json_incref(object);
    test->error = error ? *error : (struct mig_error){0};
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What the API server says when it refuses: Status objects (meta/v1) as errors. */
#ifndef MIG_KUBE_STATUS_H
#define MIG_KUBE_STATUS_H

#include <jansson.h>
#include <mig/error.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * Fills `error` (domain HTTP) from an answer: "PATCH /api/v1/nodes/n: 409 Conflict: ..."; causes
 * that name somebody go to its holders. Without a Status object (NULL), the start of `body` is
 * shown.
 */
void mig_kube_status_error(struct mig_error *error, const char *method, const char *path,
                           int status, const json_t *object, const char *body, size_t size);

/* "Conflict", "AlreadyExists", "Expired"; "" when it is no Status. */
const char *mig_kube_status_reason(const json_t *object);

/* A PodDisruptionBudget says no, which another try does not change soon. */
bool mig_kube_status_is_budget(const json_t *object);

/* The seconds after which to ask again, of details.retryAfterSeconds, as ms; 0 = none. */
unsigned mig_kube_status_retry_ms(const json_t *object);

#endif

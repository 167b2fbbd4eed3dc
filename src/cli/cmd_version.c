/* SPDX-License-Identifier: Apache-2.0 */
/* migctl version: of the program, and how many GPU models its catalogue has. Needs no driver. */
#include "cli/document.h"

int cmd_version(struct cli *cli, struct mig_error *error)
{
    (void)error;
    if (cli_is_text(cli)) {
        printf("migctl %s, %zu GPU models\n", MIG_VERSION, mig_catalog_count());
    } else {
        json_t *document = doc_start(cli, "version");

        doc_put_text(document, "version", MIG_VERSION);
        doc_put_int(document, "model_count", (int64_t)mig_catalog_count());
    }
    return MIG_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* kubeconfig files: parsed, the files that they name not read. What is accepted can be used. */
#include "fuzz.h"
#include "kube/kubeconfig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mig_kube_config config;
    struct mig_error error;

    if (mig_kube_config_parse("file", (const char *)data, size, false, &config, &error) < 0) {
        FUZZ_CHECK(error.message[0]);
        FUZZ_CHECK(!config.host && !config.token);
        return 0;
    }
    FUZZ_CHECK(config.host && *config.host && !strpbrk(config.host, "\r\n/[]"));
    FUZZ_CHECK(config.port > 0);
    FUZZ_CHECK(config.path_prefix && (!*config.path_prefix || *config.path_prefix == '/'));
    FUZZ_CHECK(!strpbrk(config.path_prefix, "\r\n ?#"));
    FUZZ_CHECK(!config.token || !strpbrk(config.token, "\r\n"));
    FUZZ_CHECK(!config.certificate == !config.key);
    FUZZ_CHECK(config.namespace_name);
    mig_kube_config_release(&config);
    return 0;
}

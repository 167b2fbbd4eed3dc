/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of src/kube: kubeconfig files, the configuration of a pod, URLs, base64. */
#include "base/cleanup.h"
#include "base/file.h"
#include "kube/base64.h"
#include "kube/kubeconfig.h"
#include "kube/server_url.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* A folder for the files of a test; state. */
struct folder {
    char path[64];
    char file[128];
};

static int make_folder(void **state)
{
    struct folder *folder = calloc(1, sizeof(*folder));

    snprintf(folder->path, sizeof(folder->path), "/tmp/migd-kubeconfig-XXXXXX");
    if (!mkdtemp(folder->path)) {
        return -1;
    }
    *state = folder;
    return 0;
}

static int remove_folder(void **state)
{
    static const char *const names[] = {"config", "second", "token", "ca.crt", "namespace", "key"};
    struct folder *folder = *state;

    for (size_t i = 0; i < MIG_ARRAY_SIZE(names); i++) {
        snprintf(folder->file, sizeof(folder->file), "%s/%s", folder->path, names[i]);
        unlink(folder->file);
    }
    rmdir(folder->path);
    free(folder);
    return 0;
}

static const char *put(struct folder *folder, const char *name, const char *text)
{
    snprintf(folder->file, sizeof(folder->file), "%s/%s", folder->path, name);
    assert_int_equal(mig_file_write_atomic(folder->file, text, strlen(text), 0600, NULL), 0);
    return folder->file;
}

/* A whole file with `cluster` and `user` as the lines of theirs. */
static char *kubeconfig(const char *cluster, const char *user)
{
    char *text;

    assert_true(asprintf(&text,
                         "apiVersion: v1\nkind: Config\ncurrent-context: here\n"
                         "contexts:\n- name: other\n  context: {cluster: x, user: y}\n"
                         "- name: here\n  context: {cluster: c, user: u, namespace: gpu}\n"
                         "clusters:\n- name: c\n  cluster:\n%s"
                         "users:\n- name: u\n  user:\n%s",
                         cluster, user) > 0);
    return text;
}

static int parse(const char *cluster, const char *user, struct mig_kube_config *config,
                 struct mig_error *error)
{
    MIG_AUTO_FREE char *text = kubeconfig(cluster, user);

    return mig_kube_config_parse("file", text, strlen(text), true, config, error);
}

static void test_data_in_the_file(void **state)
{
    struct mig_kube_config config;
    struct mig_error error;

    (void)state;
    assert_int_equal(parse("    server: https://[fd00::1]:6443/k8s/clusters/c-1/\n"
                           "    certificate-authority-data: Q0E=\n"
                           "    tls-server-name: api.example\n    future-key: {a: [1]}\n",
                           "    client-certificate-data: Q0VSVA==\n    client-key-data: S0VZ\n",
                           &config, &error),
                     0);
    assert_string_equal(config.host, "fd00::1");
    assert_int_equal(config.port, 6443);
    assert_string_equal(config.path_prefix, "/k8s/clusters/c-1");
    assert_true(config.tls);
    assert_false(config.insecure);
    assert_string_equal(config.ca, "CA");
    assert_string_equal(config.certificate, "CERT");
    assert_string_equal(config.key, "KEY");
    assert_string_equal(config.server_name, "api.example");
    assert_string_equal(config.namespace_name, "gpu");
    assert_null(config.token);
    mig_kube_config_release(&config);
}

static void test_named_files_are_beside_it(void **state)
{
    struct folder *folder = *state;
    struct mig_kube_config config, copy;
    struct mig_error error;
    char expected[128];
    MIG_AUTO_FREE char *text =
        kubeconfig("    server: https://api\n    certificate-authority: ca.crt\n"
                   "    insecure-skip-tls-verify: false\n",
                   "    tokenFile: token\n    token: old\n");
    struct mig_kube_config_source source = {.path = NULL};

    put(folder, "ca.crt", "AUTHORITY\n");
    put(folder, "token", "secret\n");
    source.path = put(folder, "config", text);
    assert_int_equal(mig_kube_config_load(&source, &config, &error), 0);
    assert_string_equal(config.ca, "AUTHORITY\n");
    snprintf(expected, sizeof(expected), "%s/token", folder->path);
    assert_string_equal(config.token_file, expected);
    assert_int_equal(config.port, 443);
    assert_int_equal(mig_kube_config_copy(&config, &copy, &error), 0);
    mig_kube_config_release(&config);
    assert_string_equal(copy.token_file, expected);
    mig_kube_config_release(&copy);

    source.context = "other";
    assert_int_equal(mig_kube_config_load(&source, &config, &error), MIG_E_CONFIG);
    assert_non_null(strstr(error.message, "there is no cluster named 'x'"));
    snprintf(expected, sizeof(expected), "%s/ca.crt", folder->path);
    unlink(expected);
    source.context = NULL;
    assert_int_equal(mig_kube_config_load(&source, &config, &error), MIG_E_CONFIG);
    assert_non_null(strstr(error.message, "certificate-authority"));
    assert_non_null(strstr(error.message, "ca.crt"));
}

static void test_several_files(void **state)
{
    struct folder *folder = *state;
    struct mig_kube_config config;
    struct mig_error error;
    char list[512], first[128];
    struct mig_kube_config_source source = {.path = list};

    snprintf(first, sizeof(first), "%s",
             put(folder, "config",
                 "current-context: a\ncontexts: [{name: a, context: {cluster: b, user: c}}]\n"));
    snprintf(list, sizeof(list), "%s:/nonexistent/migd:%s", first,
             put(folder, "second",
                 "current-context: z\nclusters: [{name: b, cluster: {server: 'http://h:80'}}]\n"
                 "users: [{name: c, user: {token: 12345}}]\n"));
    assert_int_equal(mig_kube_config_load(&source, &config, &error), 0);
    assert_string_equal(config.host, "h");
    assert_false(config.tls);
    assert_string_equal(config.token, "12345");
    assert_string_equal(config.namespace_name, "default");
    mig_kube_config_release(&config);
    snprintf(list, sizeof(list), "/nonexistent/a:/nonexistent/b");
    assert_int_equal(mig_kube_config_load(&source, &config, &error), MIG_E_CONFIG);
    assert_non_null(strstr(error.message, "none of the files"));
}

static void test_in_the_cluster(void **state)
{
    struct folder *folder = *state;
    struct mig_kube_config config;
    struct mig_error error;
    struct mig_kube_config_source source = {
        .service_host = "10.96.0.1", .service_port = "443", .service_account = folder->path};

    assert_int_equal(mig_kube_config_load(&source, &config, &error), MIG_E_CONFIG);
    assert_non_null(strstr(error.message, "/token"));
    assert_non_null(strstr(error.hint, "automountServiceAccountToken"));
    put(folder, "token", "secret\n");
    put(folder, "ca.crt", "CA\n");
    assert_int_equal(mig_kube_config_load(&source, &config, &error), 0);
    assert_string_equal(config.namespace_name, "default");
    mig_kube_config_release(&config);
    put(folder, "namespace", "gpu-operator\n");
    assert_int_equal(mig_kube_config_load(&source, &config, &error), 0);
    assert_string_equal(config.host, "10.96.0.1");
    assert_int_equal(config.port, 443);
    assert_string_equal(config.namespace_name, "gpu-operator");
    assert_non_null(config.token_file);
    assert_true(config.tls);
    mig_kube_config_release(&config);
    source.service_port = "0";
    assert_int_equal(mig_kube_config_load(&source, &config, &error), MIG_E_CONFIG);
    source.service_host = NULL;
    assert_int_equal(mig_kube_config_load(&source, &config, &error), MIG_E_CONFIG);
    assert_non_null(strstr(error.message, "not in a pod"));
}

static void test_refusals_say_where_and_why(void **state)
{
    static const struct {
        const char *cluster, *user, *expected;
    } cases[] = {
        {"    server: https://h\n    proxy-url: http://p\n", "    token: t\n",
         "file:13:16: proxy-url: connections through a proxy"},
        {"    server: https://h\n", "    exec: {command: aws}\n", "file:16:11: exec: programs"},
        {"    server: https://h\n", "    auth-provider: {name: gcp}\n", "auth-provider: "},
        {"    server: https://h\n", "    username: me\n", "username: passwords"},
        {"    server: https://h\n", "    as: root\n", "as: acting as another user"},
        {"    server: h:6443\n", "    token: t\n", "server 'h:6443' needs https:// in front"},
        {"    server: [h]\n", "    token: t\n", "server has to be text, found a list"},
        {"    tls-server-name: h\n", "    token: t\n", "the cluster has no server"},
        {"    server: https://h\n    certificate-authority-data: '%%'\n", "    token: t\n",
         "certificate-authority-data is not base64"},
        {"    server: https://h\n    insecure-skip-tls-verify: maybe\n", "    token: t\n",
         "insecure-skip-tls-verify has to be true or false"},
        {"    server: https://h\n", "    client-key-data: S0VZ\n", "without a client-certificate"},
        {"    server: https://h\n", "    token: \"a\\r\\nHost: b\"\n", "token has a character"},
        {"    server: https://h\n", "    tokenFile: /nonexistent/t\n", "tokenFile: could not open"},
    };

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(cases); i++) {
        struct mig_kube_config config;
        struct mig_error error;

        assert_int_equal(parse(cases[i].cluster, cases[i].user, &config, &error), MIG_E_CONFIG);
        if (!strstr(error.message, cases[i].expected)) {
            fail_msg("'%s' is not in '%s'", cases[i].expected, error.message);
        }
        assert_non_null(strstr(error.message, "file"));
        assert_null(config.host);
    }
}

static void test_whole_file_is_no_kubeconfig(void **state)
{
    static const char *const texts[] = {
        "", "[]", "a: [", "current-context: a", "\xff", "current-context: a\ncontexts: {}"};

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(texts); i++) {
        struct mig_kube_config config;
        struct mig_error error;

        assert_int_equal(
            mig_kube_config_parse("file", texts[i], strlen(texts[i]), true, &config, &error),
            MIG_E_CONFIG);
        assert_non_null(strstr(error.message, "file"));
    }
}

static void test_urls(void **state)
{
    static const char *const wrong[] = {"",
                                        "https://",
                                        "ftp://h",
                                        "https://u@h",
                                        "https://h:0",
                                        "https://h:65536",
                                        "https://h:",
                                        "https://[::1",
                                        "https://[::1]x",
                                        "https://h/a b",
                                        "https://h?x=1",
                                        "https://a:b:c",
                                        "https://h\r\nx",
                                        "https://[]:1"};
    struct mig_kube_server_url url;

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(wrong); i++) {
        assert_non_null(mig_kube_server_url_parse(wrong[i], &url));
    }
    assert_null(mig_kube_server_url_parse("http://127.0.0.1:8080", &url));
    assert_string_equal(url.host, "127.0.0.1");
    assert_int_equal(url.port, 8080);
    assert_string_equal(url.path_prefix, "");
    assert_null(mig_kube_server_url_parse("https://[fe80::1%eth0]", &url));
    assert_string_equal(url.host, "fe80::1%eth0");
    assert_int_equal(url.port, 443);
    assert_null(mig_kube_server_url_parse("https://h/a/b//", &url));
    assert_string_equal(url.path_prefix, "/a/b");
}

static void test_base64(void **state)
{
    static const char *const wrong[] = {
        "", "a", "ab=", "====", "a===", "YQ==YQ==", "YQ=a", "AA==", "Y*==", "YWJj="};
    static const struct {
        const char *encoded, *text;
    } right[] = {{"YQ==", "a"}, {"YWI=", "ab"}, {"YWJj", "abc"}, {" YW\nJj\r\nZA==\n", "abcd"}};

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(wrong); i++) {
        assert_null(mig_base64_decode_text(wrong[i]));
    }
    for (size_t i = 0; i < MIG_ARRAY_SIZE(right); i++) {
        MIG_AUTO_FREE char *text = mig_base64_decode_text(right[i].encoded);

        assert_non_null(text);
        assert_string_equal(text, right[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_data_in_the_file),
        cmocka_unit_test_setup_teardown(test_named_files_are_beside_it, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_several_files, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_in_the_cluster, make_folder, remove_folder),
        cmocka_unit_test(test_refusals_say_where_and_why),
        cmocka_unit_test(test_whole_file_is_no_kubeconfig),
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_base64),
    };

    return cmocka_run_group_tests_name("kubeconfig", tests, NULL, NULL);
}

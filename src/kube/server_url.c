/* SPDX-License-Identifier: Apache-2.0 */
/* URLs of API servers: scheme, host, port, path. What no API server has is refused. */
#include "kube/server_url.h"
#include "base/text.h"
#include <ctype.h>
#include <string.h>

/* Names, IPv4, and IPv6 with a zone; nothing that could end a header or a path. */
static bool is_host_character(char character, bool in_brackets)
{
    return isalnum((unsigned char)character) || strchr("-._", character) ||
           (in_brackets && strchr(":%", character));
}

static const char *copy_host(struct mig_kube_server_url *url, const char *host, size_t size,
                             bool in_brackets)
{
    if (size == 0) {
        return "names no host";
    }
    if (size >= sizeof(url->host)) {
        return "has a host name that is too long";
    }
    for (size_t i = 0; i < size; i++) {
        if (!host[i] || !is_host_character(host[i], in_brackets)) {
            return "has a host name with a character that cannot be in one";
        }
    }
    memcpy(url->host, host, size);
    url->host[size] = '\0';
    return NULL;
}

static const char *parse_port(struct mig_kube_server_url *url, const char *text, size_t size)
{
    char digits[8];
    uint64_t port;

    if (size >= sizeof(digits)) {
        return "has a port that is no number from 1 to 65535";
    }
    memcpy(digits, text, size);
    digits[size] = '\0';
    if (!mig_text_parse_u64(digits, UINT16_MAX, &port) || port == 0) {
        return "has a port that is no number from 1 to 65535";
    }
    url->port = (uint16_t)port;
    return NULL;
}

static const char *parse_authority(struct mig_kube_server_url *url, const char *text, size_t size)
{
    const char *end = text + size, *colon, *host_end;
    const char *problem;

    if (memchr(text, '@', size)) {
        return "has a user name in it";
    }
    if (size > 0 && *text == '[') {
        host_end = memchr(text, ']', size);
        if (!host_end) {
            return "has a '[' without ']'";
        }
        problem = copy_host(url, text + 1, (size_t)(host_end - text - 1), true);
        host_end++;
        if (!problem && host_end < end && *host_end != ':') {
            return "has something other than ':PORT' behind ']'";
        }
        colon = host_end < end ? host_end : NULL;
    } else {
        colon = memchr(text, ':', size);
        problem = copy_host(url, text, (size_t)((colon ? colon : end) - text), false);
    }
    if (!problem && colon) {
        problem = parse_port(url, colon + 1, (size_t)(end - colon - 1));
    }
    return problem;
}

static const char *parse_prefix(struct mig_kube_server_url *url, const char *text)
{
    size_t size = strlen(text);

    while (size > 0 && text[size - 1] == '/') {
        size--;
    }
    if (size >= sizeof(url->path_prefix)) {
        return "has a path that is too long";
    }
    for (size_t i = 0; i < size; i++) {
        if (!isgraph((unsigned char)text[i]) || strchr("?#\"<>\\^`{|}", text[i])) {
            return "has a path with a character that cannot be in one";
        }
    }
    memcpy(url->path_prefix, text, size);
    url->path_prefix[size] = '\0';
    return NULL;
}

const char *mig_kube_server_url_parse(const char *url, struct mig_kube_server_url *ret)
{
    const char *authority;
    const char *problem;
    size_t size;

    *ret = (struct mig_kube_server_url){0};
    if (mig_text_starts_with(url, "https://")) {
        ret->tls = true;
        ret->port = 443;
        authority = url + strlen("https://");
    } else if (mig_text_starts_with(url, "http://")) {
        ret->port = 80;
        authority = url + strlen("http://");
    } else {
        return "needs https:// in front";
    }
    size = strcspn(authority, "/?#");
    problem = parse_authority(ret, authority, size);
    return problem ? problem : parse_prefix(ret, authority + size);
}

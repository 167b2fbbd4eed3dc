/* SPDX-License-Identifier: Apache-2.0 */
/* base64 of texts, as in kubeconfig files and Secrets. */
#ifndef MIG_KUBE_BASE64_H
#define MIG_KUBE_BASE64_H

/* The text, malloc'd; blanks and line ends are passed over. NULL when it is no base64, the text is
 * empty or has a zero byte, or there is no memory. */
char *mig_base64_decode_text(const char *encoded);

#endif

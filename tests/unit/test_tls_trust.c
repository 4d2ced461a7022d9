// SPDX-License-Identifier: Apache-2.0
// Trust: which files are taken and which are refused with what words; what a verified certificate proves and for how long; whose it is.
#include "adapters/tls/trust.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include <cmocka.h>

#include "tls_pki.h"

static struct pki_made root, other_root, twin_root, middle, gateway, below, p384, rsa, past, device, long_device, links[5];
static char path[8][160];

static const char *
in_folder(size_t i, const char *name)
{
	snprintf(path[i], sizeof(path[i]), "%s/%s", pki_folder, name);
	return path[i];
}

static int
set_up(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(pki_folder));
	pki_make(&root, "root", NULL, (struct pki_wish){ .ca = true, .until_s = 20 * 365 * 86400L });
	pki_make(&other_root, "other-root", NULL, (struct pki_wish){ .ca = true });
	pki_make(&twin_root, "twin", NULL, (struct pki_wish){ .ca = true, .cn = "root" });
	pki_make(&middle, "middle", &root, (struct pki_wish){ .ca = true });
	pki_make(&gateway, "gateway", &root, (struct pki_wish){ .san = "DNS:localhost,IP:127.0.0.1" });
	pki_make(&below, "below", &middle, (struct pki_wish){ .cn = "gateway" });
	pki_make(&p384, "p384", &root, (struct pki_wish){ .kind = "P-384" });
	pki_make(&rsa, "rsa", &root, (struct pki_wish){ .kind = "RSA" });
	pki_make(&past, "past", &root, (struct pki_wish){ .from_s = -7200, .until_s = -3600 });
	pki_make(&device, "mon1", &root, (struct pki_wish){ .san = "DNS:mon-one.ward,URI:urn:dev:mac:0024befffe804ff1,email:mon1@ward.example,IP:10.1.2.3" });
	for (size_t i = 0; i < 5; i++) {
		char name[16];

		snprintf(name, sizeof(name), "link%zu", i);
		pki_make(&links[i], name, i == 0 ? &root : &links[i - 1], (struct pki_wish){ .ca = true });
	}
	pki_make(&long_device, "long", &links[4], (struct pki_wish){ .cn = "mon1" });
	return 0;
}

static int
tear_down(void **state)
{
	struct pki_made *const all[] = { &root, &other_root, &twin_root, &middle, &gateway, &below, &p384, &rsa, &past, &device, &long_device, &links[0], &links[1],
		&links[2], &links[3], &links[4] };

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		pki_free(all[i]);
	pki_remove();
	return 0;
}

static struct gw_trust *
load(struct gw_trust_options options)
{
	struct gw_trust *trust;
	struct gw_why why = { "" };

	if (gw_trust_load(&options, &trust, &why) != GW_OK)
		fail_msg("%s", why.text);
	return trust;
}

// ---- Files ----

static void
assert_refused(struct gw_trust_options options, const char *words)
{
	struct gw_trust *trust;
	struct gw_why why = { "" };

	assert_int_equal(gw_trust_load(&options, &trust, &why), GW_E_CONFIG);
	assert_null(trust);
	if (strstr(why.text, words) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", why.text, words);
}

static void
test_pairs_refused(void **state)
{
	struct gw_trust_options good = { .certificate = gateway.file, .key = gateway.key_file, .ca = root.file }, o;

	(void)state;
	gw_trust_drop(load(good));
	o = good, o.certificate = "/nowhere.pem";
	assert_refused(o, "tls.certificate /nowhere.pem: No such file");
	o = good, o.key = "";
	assert_refused(o, "tls.key: the certificate is PEM");
	o = good, o.key = p384.key_file;
	assert_refused(o, "does not belong to tls.certificate");
	o = good, o.key = gateway.file;
	assert_refused(o, "tls.key");
	o = good, o.certificate = past.file, o.key = past.key_file;
	assert_refused(o, "has expired: renew it");
	o.expired_accepted = true;
	gw_trust_drop(load(o));
	o = good, o.ca = in_folder(0, "empty");
	pki_text(o.ca, "");
	assert_refused(o, "tls.ca");
	o = good, o.ca = pki_folder;
	assert_refused(o, "not a file");
	o = good, o.certificate = in_folder(0, "text.p12");
	pki_text(o.certificate, "neither");
	assert_refused(o, "neither PEM nor PKCS#12");
}

static void
test_secrets_of_others(void **state)
{
	static const mode_t modes[] = { 0640, 0604, 0620, 0644, 0660 };
	struct gw_trust_options options = { .certificate = gateway.file, .key = gateway.key_file };

	(void)state;
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		assert_int_equal(chmod(gateway.key_file, modes[i]), 0);
		assert_refused(options, "chmod 600");
	}
	assert_int_equal(chmod(gateway.key_file, 0400), 0);
	gw_trust_drop(load(options));
	assert_int_equal(chmod(gateway.key_file, 0600), 0);
}

static void
write_encrypted(const char *file, struct pki_made *who, const char *passphrase)
{
	FILE *out = pki_create(file);

	PKI(PEM_write_PKCS8PrivateKey(out, who->key, EVP_aes_256_cbc(), passphrase, (int)strlen(passphrase), NULL, NULL) == 1);
	fclose(out);
}

static void
test_encrypted_key(void **state)
{
	struct gw_trust_options options = { .certificate = gateway.file, .key = in_folder(0, "sealed.key") };

	(void)state;
	write_encrypted(options.key, &gateway, "open sesame");
	assert_refused(options, "it is encrypted");
	options.passphrase_file = in_folder(1, "passphrase");
	pki_text(options.passphrase_file, "open barley\n");
	assert_refused(options, "its passphrase is another one");
	pki_text(options.passphrase_file, "open sesame\r\nsecond line\n");
	gw_trust_drop(load(options));
	assert_int_equal(chmod(options.passphrase_file, 0644), 0);
	assert_refused(options, "tls.key_passphrase_file");
}

// The chain comes in order, without the root, and the key without its passphrase.
static void
test_p12(void **state)
{
	struct pki_made *const chain[] = { &root, &middle };
	struct gw_trust_options options = { .certificate = in_folder(0, "gateway.p12"), .passphrase_file = in_folder(1, "p12-passphrase") };
	struct gw_trust_shown shown;
	struct gw_trust *trust;
	struct gw_span pem;

	(void)state;
	pki_text(options.passphrase_file, "secret\n");
	pki_p12(options.certificate, &below, true, chain, 2, "secret");
	trust = load(options);
	assert_true(gw_trust_shows(trust, &shown));
	assert_non_null(shown.chain->next);
	assert_null(shown.chain->next->next);
	assert_true(shown.chain->issuer_raw.len == shown.chain->next->subject_raw.len &&
	    memcmp(shown.chain->issuer_raw.p, shown.chain->next->subject_raw.p, shown.chain->issuer_raw.len) == 0);
	pem = gw_trust_pem(trust, GW_TRUST_KEY);
	assert_true(pem.len > 100 && pem.at[pem.len - 1] == '\0' && strstr((const char *)pem.at, "PRIVATE KEY") != NULL);
	assert_null(strstr((const char *)pem.at, "ENCRYPTED"));
	gw_trust_drop(trust);
	pki_text(options.passphrase_file, "wrong\n");
	assert_refused(options, "its passphrase is another one");
	pki_text(options.passphrase_file, "secret\n");
	assert_int_equal(chmod(options.certificate, 0644), 0);
	assert_refused(options, "chmod 600");
	pki_p12(options.certificate, &below, false, chain, 2, "secret");
	assert_refused(options, "there is no key in it");
}

static void
test_kinds(void **state)
{
	struct pki_made *const kinds[] = { &gateway, &p384, &rsa };

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct gw_trust *trust = load((struct gw_trust_options){ .certificate = kinds[i]->file, .key = kinds[i]->key_file, .ca = root.file });
		char words[192];

		assert_non_null(strstr((const char *)gw_trust_pem(trust, GW_TRUST_CHAIN).at, "BEGIN CERTIFICATE"));
		assert_non_null(strstr((const char *)gw_trust_pem(trust, GW_TRUST_AUTHORITIES).at, "BEGIN CERTIFICATE"));
		gw_trust_words(trust, words, sizeof(words));
		assert_non_null(strstr(words, "CN="));
		assert_string_equal(gw_trust_warning(trust), "");
		gw_trust_drop(trust);
	}
}

// ---- Revocation lists ----

static void
test_lists(void **state)
{
	struct gw_trust_options options = { .ca = root.file, .crl = in_folder(0, "root.crl") };
	struct gw_trust *trust;

	(void)state;
	pki_crl(options.crl, &root, &device, 86400);
	trust = load(options);
	assert_non_null(gw_trust_lists(trust));
	assert_string_equal(gw_trust_warning(trust), "");
	assert_false(gw_trust_stale(trust, time(NULL)));
	gw_trust_drop(trust);
	pki_crl(options.crl, &twin_root, &device, 86400);
	assert_refused(options, "it is not signed by the authority that it names");
	pki_crl(options.crl, &other_root, NULL, 86400);
	trust = load(options);
	assert_non_null(strstr(gw_trust_warning(trust), "its authority is not in tls.ca"));
	gw_trust_drop(trust);
	pki_text(options.crl, "-----BEGIN X509 CRL-----\nnonsense\n-----END X509 CRL-----\n");
	assert_refused(options, "tls.crl");
	options.crl = "/nowhere.crl";
	assert_refused(options, "No such file");
}

static void
test_list_past_its_time(void **state)
{
	struct gw_trust_options options = { .ca = root.file, .crl = in_folder(0, "old.crl") };
	struct gw_trust *trust;

	(void)state;
	pki_crl(options.crl, &root, NULL, -60);
	trust = load(options);
	assert_non_null(strstr(gw_trust_warning(trust), "it is past its time"));
	assert_false(gw_trust_stale(trust, time(NULL)));
	gw_trust_drop(trust);
	options.crl_expired_refused = true;
	trust = load(options);
	assert_true(gw_trust_stale(trust, time(NULL)));
	assert_false(gw_trust_stale(trust, time(NULL) - 3600));
	gw_trust_drop(trust);
}

// Files that are being written are left alone; others count together.
static void
test_folder_of_lists(void **state)
{
	struct gw_trust_options options = { .ca = in_folder(0, "both.pem"), .crl = in_folder(1, "lists") };
	struct pki_made *const both[] = { &root, &other_root };
	struct gw_trust *trust;
	size_t count = 0;

	(void)state;
	pki_bundle(options.ca, both, 2);
	assert_int_equal(mkdir(options.crl, 0700), 0);
	pki_crl(in_folder(2, "lists/a.crl"), &root, &device, 86400);
	pki_crl(in_folder(2, "lists/b.crl"), &other_root, NULL, 86400);
	pki_text(in_folder(2, "lists/c.crl.part"), "half of it");
	pki_text(in_folder(2, "lists/.hidden"), "half of it");
	trust = load(options);
	for (const mbedtls_x509_crl *list = gw_trust_lists(trust); list != NULL; list = list->next)
		count++;
	assert_int_equal(count, 2);
	gw_trust_drop(trust);
	pki_text(in_folder(2, "lists/d.crl"), "nonsense");
	assert_refused(options, "d.crl");
}

// ---- Proofs ----

static uint32_t
verify(const struct gw_trust *trust, struct pki_made *const *chain, size_t count, struct gw_trust_proof *proof)
{
	struct gw_trust_check check = { .trust = trust };
	mbedtls_x509_crt crt;
	uint32_t flags = 0;

	mbedtls_x509_crt_init(&crt);
	for (size_t i = 0; i < count; i++) {
		unsigned char *der = NULL;
		int len = i2d_X509(chain[i]->crt, &der);

		assert_int_equal(mbedtls_x509_crt_parse_der(&crt, der, (size_t)len), 0);
		OPENSSL_free(der);
	}
	(void)mbedtls_x509_crt_verify(&crt, gw_trust_authorities(trust), gw_trust_lists(trust), NULL, &flags, gw_trust_verify, &check);
	mbedtls_x509_crt_free(&crt);
	*proof = check.proof;
	return flags;
}

static void
test_proof(void **state)
{
	struct pki_made *const alone[] = { &device };
	struct gw_trust *trust = load((struct gw_trust_options){ .ca = root.file }), *other;
	int64_t now_s = time(NULL);
	struct gw_trust_proof proof;

	(void)state;
	assert_int_equal(verify(trust, alone, 1, &proof), 0);
	assert_int_equal(proof.links, 1);
	assert_int_equal(gw_trust_lapsed(trust, &proof, now_s), GW_REFUSED_NONE);
	assert_int_equal(gw_trust_lapsed(trust, &proof, now_s + 366 * 86400), GW_REFUSED_CERTIFICATE_EXPIRED);
	gw_trust_drop(trust);

	other = load((struct gw_trust_options){ .ca = other_root.file });
	assert_int_equal(gw_trust_lapsed(other, &proof, now_s), GW_REFUSED_CERTIFICATE_FOREIGN);
	gw_trust_drop(other);
	other = load((struct gw_trust_options){ .ca = twin_root.file }); // of the same name, with another key
	assert_int_equal(gw_trust_lapsed(other, &proof, now_s), GW_REFUSED_CERTIFICATE_FOREIGN);
	gw_trust_drop(other);
	other = load((struct gw_trust_options){ .ca = "" });
	assert_int_equal(gw_trust_lapsed(other, &proof, now_s), GW_REFUSED_CERTIFICATE_FOREIGN);
	gw_trust_drop(other);

	pki_crl(in_folder(0, "proof.crl"), &root, &device, 86400);
	other = load((struct gw_trust_options){ .ca = root.file, .crl = path[0] });
	assert_int_equal(gw_trust_lapsed(other, &proof, now_s), GW_REFUSED_CERTIFICATE_REVOKED);
	assert_true((verify(other, alone, 1, &proof) & MBEDTLS_X509_BADCERT_REVOKED) != 0);
	gw_trust_drop(other);
}

// Revoking what stands between ends what lies below it.
static void
test_chains(void **state)
{
	struct pki_made *const chain[] = { &below, &middle };
	struct pki_made *const longest[] = { &links[4], &links[3], &links[2], &links[1], &links[0] };
	struct pki_made *const too_long[] = { &long_device, &links[4], &links[3], &links[2], &links[1], &links[0] };
	struct gw_trust *trust = load((struct gw_trust_options){ .ca = root.file }), *other;
	struct gw_trust_proof proof;

	(void)state;
	assert_int_equal(verify(trust, longest, 5, &proof), 0);
	assert_int_equal(proof.links, GW_TRUST_LINKS_MAX);
	assert_true((verify(trust, too_long, 6, &proof) & MBEDTLS_X509_BADCERT_OTHER) != 0);
	assert_int_equal(verify(trust, chain, 2, &proof), 0);
	assert_int_equal(proof.links, 2);
	assert_int_equal(gw_trust_lapsed(trust, &proof, time(NULL)), GW_REFUSED_NONE);
	gw_trust_drop(trust);
	pki_crl(in_folder(0, "middle.crl"), &root, &middle, 86400);
	other = load((struct gw_trust_options){ .ca = root.file, .crl = path[0] });
	assert_int_equal(gw_trust_lapsed(other, &proof, time(NULL)), GW_REFUSED_CERTIFICATE_REVOKED);
	gw_trust_drop(other);
}

static void
test_list_policy(void **state)
{
	struct pki_made *const alone[] = { &device };
	struct gw_trust_options options = { .ca = root.file, .crl = in_folder(0, "policy.crl") };
	struct gw_trust_proof proof;
	struct gw_trust *trust;

	(void)state;
	pki_crl(options.crl, &root, NULL, -60);
	trust = load(options);
	assert_int_equal(verify(trust, alone, 1, &proof), 0);
	gw_trust_drop(trust);
	options.crl_expired_refused = true;
	trust = load(options);
	assert_int_equal(verify(trust, alone, 1, &proof), MBEDTLS_X509_BADCRL_EXPIRED);
	gw_trust_drop(trust);
	// Past its time, what it says still counts.
	pki_crl(options.crl, &root, &device, -60);
	options.crl_expired_refused = false;
	trust = load(options);
	assert_int_equal(verify(trust, alone, 1, &proof), MBEDTLS_X509_BADCERT_REVOKED);
	gw_trust_drop(trust);
}

// ---- Identity ----

static bool
is_subject(void *arg, struct gw_span name)
{
	return gw_span_is(name, arg);
}

static void
assert_identity(struct gw_config_mapping *rules, size_t count, const char *subject, bool known, const char *name)
{
	struct gw_config_list list = { rules, count };
	struct gw_trust *trust = load((struct gw_trust_options){ .certificate = device.file, .key = device.key_file, .identities = &list });
	struct gw_tls_identity identity;
	struct gw_trust_shown shown;

	assert_true(gw_trust_shows(trust, &shown));
	gw_trust_identify(trust, shown.chain, is_subject, (void *)(uintptr_t)subject, &identity);
	assert_int_equal(identity.auth, GW_AUTH_CERTIFICATE);
	assert_int_equal(identity.known, known);
	assert_string_equal(identity.name, name);
	gw_trust_drop(trust);
}

#define RULE(f, m) { .from = (char *)(uintptr_t)(f), .match = (char *)(uintptr_t)(m) }

static void
test_identities(void **state)
{
	struct gw_config_mapping dns[] = { RULE("dns", "mon-([a-z]+)\\.ward") }, mac[] = { RULE("uri", "urn:dev:mac:([0-9a-f]{16})") };
	struct gw_config_mapping ip[] = { RULE("ip", "") }, mail[] = { RULE("email", "([^@]+)@ward\\.example") }, cn[] = { RULE("cn", "mon(.*)") };
	struct gw_config_mapping part[] = { RULE("cn", "(on)") }, either[] = { RULE("cn", "(x)|on1"), RULE("dns", ""), RULE("cn", "(mon1|mon)") };

	(void)state;
	assert_identity(NULL, 0, "mon1", true, "mon1");
	assert_identity(NULL, 0, "mon-one.ward", true, "mon-one.ward");
	assert_identity(NULL, 0, "urn:dev:mac:0024befffe804ff1", false, "mon1");
	assert_identity(dns, 1, "one", true, "one");
	assert_identity(dns, 1, "mon1", false, "mon1"); // the rules alone count
	assert_identity(mac, 1, "0024befffe804ff1", true, "0024befffe804ff1");
	assert_identity(ip, 1, "10.1.2.3", true, "10.1.2.3");
	assert_identity(mail, 1, "mon1", true, "mon1");
	assert_identity(cn, 1, "1", true, "1");
	assert_identity(part, 1, "on", false, "mon1"); // the whole name must match
	assert_identity(either, 3, "mon1", true, "mon1");
	assert_identity(either, 3, "mon-one.ward", true, "mon-one.ward");
}

static void
test_rules_refused(void **state)
{
	static const struct { const char *from, *match, *words; } bad[] = {
		{ "cn", "mon[", "" }, { "cn", "mon.*", "exactly one group" }, { "cn", "(a)(b)", "exactly one group" }, { "cn", "(a)\\1", "refer back" },
		{ "cn", "a)(b", "" }, { "serial", "(a)", "no such name" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct gw_config_mapping rule = RULE(bad[i].from, bad[i].match);
		struct gw_config_list list = { &rule, 1 };
		struct gw_why why = { "" };

		assert_int_equal(gw_trust_check_rules(&list, &why), GW_E_CONFIG);
		assert_non_null(strstr(why.text, "tls.identities"));
		assert_non_null(strstr(why.text, bad[i].words));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pairs_refused),
		cmocka_unit_test(test_secrets_of_others),
		cmocka_unit_test(test_encrypted_key),
		cmocka_unit_test(test_p12),
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_list_past_its_time),
		cmocka_unit_test(test_folder_of_lists),
		cmocka_unit_test(test_proof),
		cmocka_unit_test(test_chains),
		cmocka_unit_test(test_list_policy),
		cmocka_unit_test(test_identities),
		cmocka_unit_test(test_rules_refused),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}

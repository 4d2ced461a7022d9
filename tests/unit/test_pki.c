// SPDX-License-Identifier: Apache-2.0
// Keys and certificates, looked at with the openssl command: what we make is what others take. And the local authority's folder: made once, renewed for the reasons
// it should be renewed for.
#include "adapters/pki/local.h"
#include "adapters/pki/qr.h"

#include "gateway/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define DAY INT64_C(86400000000)

static char folder[40];
static int64_t now;

static void
must(enum gw_error error, const struct gw_why *why)
{
	if (error != GW_OK)
		fail_msg("%s: %s", gw_error_name(error), why->text);
}

static struct gw_span
span(const struct gw_pki_text *text)
{
	return gw_span(text->at, text->len);
}

static const char *
in_folder(const char *name)
{
	static char path[4][100];
	static unsigned next;
	char *at = path[next++ % 4];

	snprintf(at, 100, "%s/%s", folder, name);
	return at;
}

static void
put(const char *name, const struct gw_pki_text *text)
{
	struct gw_why why;

	must(gw_pki_write(in_folder(name), span(text), 0600, &why), &why);
}

// What a command in the folder prints; fails where it fails.
static const char *
run(const char *command)
{
	static char out[20000];
	char line[600];
	FILE *pipe;
	size_t len;

	snprintf(line, sizeof(line), "cd %s && %s 2>&1", folder, command);
	pipe = popen(line, "r");
	assert_non_null(pipe);
	len = fread(out, 1, sizeof(out) - 1, pipe);
	out[len] = '\0';
	if (pclose(pipe) != 0)
		fail_msg("%s:\n%s", command, out);
	return out;
}

static void
has(const char *text, const char *part)
{
	if (strstr(text, part) == NULL)
		fail_msg("\"%s\" is not in:\n%s", part, text);
}

struct authority {
	struct gw_pki_text certificate, key;
	struct gw_pki_ca *ca;
};

static struct authority
authority(void)
{
	struct authority a;
	struct gw_why why;

	must(gw_pki_ca_make("Test CA", now - DAY, now + 7305 * DAY, &a.certificate, &a.key, &why), &why);
	must(gw_pki_ca_open(span(&a.certificate), span(&a.key), &a.ca, &why), &why);
	put("ca.pem", &a.certificate);
	return a;
}

static void
authority_free(struct authority *a)
{
	gw_pki_ca_close(a->ca);
	gw_pki_free(&a->certificate);
	gw_pki_free(&a->key);
}

static void
test_certificates_of_every_kind(void **state)
{
	static const char *const kinds[] = { "p256", "p384", "rsa2048", "rsa3072" };
	static const char *const shown[] = { "EC P-256", "EC P-384", "RSA 2048", "RSA 3072" };
	static const char *const names[] = { "gw.example", "10.0.0.1", "fd00::1" };
	struct authority a = authority();
	struct gw_pki_info info;
	struct gw_why why;

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		bool server = i % 2 == 0;
		struct gw_pki_wish wish = { "bed-12 \xC3\xA4", names, server ? 3 : 0, server ? GW_PKI_SERVER : GW_PKI_CLIENT, now - DAY, now + 30 * DAY };
		struct gw_pki_text key, certificate;
		enum gw_pki_kind kind;
		const char *text;

		must(gw_pki_kind_of(kinds[i], &kind, &why), &why);
		must(gw_pki_key(kind, &key, &why), &why);
		must(gw_pki_issue(a.ca, &wish, span(&key), &certificate, &info, &why), &why);
		assert_string_equal(info.key, shown[i]);
		assert_string_equal(info.common_name, wish.common_name);
		assert_string_equal(info.names, server ? "DNS:gw.example,IP:10.0.0.1,IP:fd00::1" : "");
		assert_int_equal(info.until_us / 1000000, wish.until_us / 1000000);
		assert_true(gw_pki_pair(span(&certificate), span(&key)));
		assert_false(gw_pki_pair(span(&certificate), span(&a.key)));
		assert_true(gw_pki_issued(a.ca, span(&certificate)));
		put("one.pem", &certificate);
		put("one.key", &key);
		run(server ? "openssl verify -x509_strict -purpose sslserver -verify_ip fd00::1 -CAfile ca.pem one.pem" :
			     "openssl verify -x509_strict -purpose sslclient -CAfile ca.pem one.pem");
		run(server ? "! openssl verify -purpose sslclient -CAfile ca.pem one.pem" : "! openssl verify -purpose sslserver -CAfile ca.pem one.pem");
		text = run("openssl x509 -in one.pem -noout -serial -fingerprint -sha256 | tr -d : | tr A-F a-f");
		has(text, info.serial);
		has(text, info.sha256);
		text = run("openssl x509 -in one.pem -noout -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64");
		assert_memory_equal(text, info.key_pin, strlen(info.key_pin));
		text = run("openssl x509 -in one.pem -noout -pubkey | openssl pkey -pubin -outform der | sha256sum");
		assert_memory_equal(text, info.key_sha256, 64);
		gw_pki_free(&key);
		gw_pki_free(&certificate);
	}
	authority_free(&a);
}

static void
test_requests(void **state)
{
	static const char *const names[] = { "10.0.0.1" };
	struct authority a = authority();
	struct gw_pki_wish wish = { "dev", names, 1, GW_PKI_CLIENT, now - DAY, now + 30 * DAY };
	struct gw_pki_text key, request, certificate, bad;
	struct gw_pki_info info;
	struct gw_why why;

	(void)state;
	must(gw_pki_key(GW_PKI_P384, &key, &why), &why);
	must(gw_pki_request(&wish, span(&key), &request, &why), &why);
	put("one.csr", &request);
	has(run("openssl req -in one.csr -noout -verify -text"), "IP Address:10.0.0.1");
	// Only the key is taken from a request; the name is ours.
	wish.common_name = "other";
	must(gw_pki_issue(a.ca, &wish, span(&request), &certificate, &info, &why), &why);
	assert_string_equal(info.common_name, "other");
	assert_true(gw_pki_pair(span(&certificate), span(&key)));
	gw_pki_free(&certificate);
	// One whose signature is another key's, weak keys, and what is nothing.
	run("openssl req -in one.csr -outform der -out one.der && printf '\\001' | dd of=one.der bs=1 seek=$(($(stat -c %s one.der)-1)) conv=notrunc status=none && "
	    "openssl req -inform der -in one.der -out bad.pem");
	must(gw_pki_read(in_folder("bad.pem"), &bad, &why), &why);
	assert_int_equal(gw_pki_issue(a.ca, &wish, span(&bad), &certificate, NULL, &why), GW_E_FORMAT);
	gw_pki_free(&bad);
	run("openssl genrsa -out weak.key 1024; openssl ecparam -name secp256k1 -genkey -noout -out odd.key");
	must(gw_pki_read(in_folder("weak.key"), &bad, &why), &why);
	assert_int_equal(gw_pki_issue(a.ca, &wish, span(&bad), &certificate, NULL, &why), GW_E_ARGUMENT);
	has(why.text, "1024");
	gw_pki_free(&bad);
	must(gw_pki_read(in_folder("odd.key"), &bad, &why), &why);
	assert_int_equal(gw_pki_issue(a.ca, &wish, span(&bad), &certificate, NULL, &why), GW_E_ARGUMENT);
	has(why.text, "secp256k1");
	gw_pki_free(&bad);
	assert_int_equal(gw_pki_issue(a.ca, &wish, gw_span_text("nothing"), &certificate, NULL, &why), GW_E_FORMAT);
	assert_null(certificate.at);
	gw_pki_free(&key);
	gw_pki_free(&request);
	authority_free(&a);
}

static void
test_an_authority_must_be_one(void **state)
{
	struct authority a = authority(), b = authority();
	struct gw_pki_wish wish = { "dev", NULL, 0, GW_PKI_CLIENT, now - DAY, now + DAY };
	struct gw_pki_text certificate;
	struct gw_pki_ca *ca;
	struct gw_why why;

	(void)state;
	assert_int_equal(gw_pki_ca_open(span(&a.certificate), span(&b.key), &ca, &why), GW_E_FORMAT);
	has(why.text, "does not belong");
	must(gw_pki_issue(a.ca, &wish, span(&a.key), &certificate, NULL, &why), &why);
	assert_int_equal(gw_pki_ca_open(span(&certificate), span(&a.key), &ca, &why), GW_E_FORMAT);
	has(why.text, "may sign");
	assert_false(gw_pki_issued(b.ca, span(&certificate)));
	assert_null(ca);
	gw_pki_free(&certificate);
	authority_free(&a);
	authority_free(&b);
}

static void
test_revocation_list(void **state)
{
	struct authority a = authority(), b = authority();
	struct gw_pki_wish wish = { "dev", NULL, 0, GW_PKI_CLIENT, now - DAY, now + DAY };
	struct gw_pki_revoked revoked[2] = { { "00", now }, { "7fffffff", now - DAY } };
	struct gw_pki_crl crl = { .number = 77, .from_us = now - DAY, .until_us = now + 30 * DAY, .revoked = revoked, .count = 2 }, *read;
	struct gw_pki_text key, certificate, list;
	struct gw_pki_info info;
	struct gw_why why;

	(void)state;
	must(gw_pki_key(GW_PKI_P256, &key, &why), &why);
	must(gw_pki_issue(a.ca, &wish, span(&key), &certificate, &info, &why), &why);
	memcpy(revoked[0].serial, info.serial, sizeof(info.serial));
	must(gw_pki_crl(a.ca, &crl, &list, &why), &why);
	put("ca.pem", &a.certificate);
	put("crl.pem", &list);
	put("one.pem", &certificate);
	has(run("openssl crl -in crl.pem -CAfile ca.pem -noout -crlnumber"), "verify OK");
	has(run("! openssl verify -crl_check -CAfile ca.pem -CRLfile crl.pem one.pem"), "revoked");
	must(gw_pki_crl_read(a.ca, span(&list), &read, &why), &why);
	assert_int_equal(read->number, 77);
	assert_int_equal(read->count, 2);
	assert_true(strcmp(read->revoked[0].serial, info.serial) == 0 || strcmp(read->revoked[1].serial, info.serial) == 0);
	free(read);
	assert_int_equal(gw_pki_crl_read(b.ca, span(&list), &read, &why), GW_E_FORMAT);
	gw_pki_free(&key);
	gw_pki_free(&certificate);
	gw_pki_free(&list);
	authority_free(&a);
	authority_free(&b);
}

static void
test_p12(void **state)
{
	struct authority a = authority();
	struct gw_pki_wish wish = { "dev", NULL, 0, GW_PKI_CLIENT, now - DAY, now + DAY };
	struct gw_pki_text key, certificate, p12, read;
	struct gw_pki_info info;
	struct gw_why why;

	(void)state;
	must(gw_pki_key(GW_PKI_P256, &key, &why), &why);
	must(gw_pki_issue(a.ca, &wish, span(&key), &certificate, NULL, &why), &why);
	for (int legacy = 0; legacy < 2; legacy++) {
		struct gw_pki_p12 parts = { span(&certificate), span(&key), span(&a.certificate), "dev", "geheim", legacy == 1 };
		const char *text;

		must(gw_pki_p12(&parts, &p12, &why), &why);
		put("one.p12", &p12);
		text = run("openssl pkcs12 -in one.p12 -passin pass:geheim -nodes -info");
		has(text, "BEGIN PRIVATE KEY");
		has(text, "friendlyName: dev");
		has(text, "CN = Test CA");
		has(text, legacy == 1 ? "MAC: sha1" : "MAC: sha256");
		has(text, legacy == 1 ? "pbeWithSHA1And3-KeyTripleDES-CBC" : "AES-256-CBC");
		run("! openssl pkcs12 -in one.p12 -passin pass:falsch -nodes");
		must(gw_pki_p12_read(span(&p12), "geheim", &read, &why), &why);
		must(gw_pki_info(span(&read), 0, &info, &why), &why);
		assert_string_equal(info.common_name, "dev");
		must(gw_pki_info(span(&read), 1, &info, &why), &why);
		assert_string_equal(info.common_name, "Test CA");
		gw_pki_free(&read);
		assert_int_equal(gw_pki_p12_read(span(&p12), "falsch", &read, &why), GW_E_FORMAT);
		gw_pki_free(&p12);
	}
	gw_pki_free(&key);
	gw_pki_free(&certificate);
	authority_free(&a);
}

static void
test_qr(void **state)
{
	const char *text = "vitalgate:10.0.0.1?m=8883&i=bed-12&k=0123456789abcdef0123456789abcdef";
	struct gw_pki_text picture, block;
	struct gw_why why;

	(void)state;
	must(gw_qr_png(text, &picture, &why), &why);
	put("qr.png", &picture);
	gw_pki_free(&picture);
	if (system("command -v zbarimg >/dev/null") == 0)
		has(run("zbarimg -q --raw qr.png"), text);
	must(gw_qr_svg(text, &picture, &why), &why);
	has(picture.at, "<svg xmlns");
	gw_pki_free(&picture);
	must(gw_qr_terminal(text, false, &block, &why), &why);
	has(block.at, "\xE2\x96\x88");
	gw_pki_free(&block);
	picture = (struct gw_pki_text){ calloc(1, 5000), 4999 };
	memset(picture.at, 'x', 4999);
	assert_int_equal(gw_qr_svg(picture.at, &block, &why), GW_E_TOO_LARGE);
	gw_pki_free(&picture);
}

// ---- The folder ----

static struct gw_config *
config_of(const char *more)
{
	char text[20000];
	struct gw_config *config;
	struct gw_why why;
	FILE *file = fopen(in_folder("v.yaml"), "w");

	snprintf(text, sizeof(text), "store:\n  dir: store\ntls:\n  local_d: 90\n%s", more);
	fputs(text, file);
	fclose(file);
	must(gw_config_load(in_folder("v.yaml"), &config, &why), &why);
	return config;
}

// Renews where it must; why it did, or NULL.
static const char *
renew(const struct gw_config *config, struct gw_pki_info *info)
{
	struct gw_local *local;
	const char *reason = NULL;
	struct gw_why why;

	must(gw_local_open(config, &local, &why), &why);
	must(gw_local_renew(local, config, info, &reason, &why), &why);
	gw_local_close(local);
	return reason;
}

static mode_t
mode_of(const char *name)
{
	struct stat at;

	assert_int_equal(stat(in_folder(name), &at), 0);
	return at.st_mode & 0777;
}

static void
test_local_is_made_once_and_renewed(void **state)
{
	struct gw_config *config = config_of(""), *more;
	struct gw_pki_info first, info;
	int64_t began = now;

	(void)state;
	assert_string_equal(renew(config, &first), "there was none");
	assert_int_equal(mode_of("store/pki"), 0700);
	assert_int_equal(mode_of("store/pki/ca.key"), 0600);
	assert_int_equal(mode_of("store/pki/gateway.key"), 0600);
	assert_int_equal(mode_of("store/pki/gateway.pem"), 0644);
	run("openssl verify -x509_strict -purpose sslserver -verify_ip 127.0.0.1 -verify_hostname localhost -CAfile store/pki/ca.pem store/pki/gateway.pem");
	assert_null(renew(config, &info));
	assert_string_equal(info.serial, first.serial);
	gw_clock_fake_wall(began + 59 * DAY); // of 91, the day before it was made among them
	assert_null(renew(config, &info));
	gw_clock_fake_wall(began + 61 * DAY);
	has(renew(config, &info), "a third");
	assert_string_equal(info.key_sha256, first.key_sha256); // who pinned the key goes on
	assert_string_not_equal(info.serial, first.serial);
	more = config_of("  names: [gw.example, 10.9.8.7]\n");
	has(renew(more, &info), "name or address");
	has(info.names, "DNS:gw.example,IP:10.9.8.7,");
	assert_null(renew(config, &info)); // one too many is no reason
	run("rm store/pki/gateway.key");
	has(renew(config, &info), "key");
	assert_string_not_equal(info.key_sha256, first.key_sha256);
	run("rm store/pki/ca.pem store/pki/ca.key");
	has(renew(config, &info), "another authority");
	gw_clock_fake_wall(began - 100 * DAY); // a clock that was ahead
	has(renew(config, &info), "not valid yet");
	gw_clock_fake_wall(0); // one that nobody set: no new certificate every time that somebody looks
	renew(config, &info);
	assert_null(renew(config, &info));
	gw_clock_fake_wall(began);
	gw_config_free(config);
	gw_config_free(more);
}

// A machine with more names than a certificate takes gets one all the same, and not a new one every time.
static void
test_local_of_a_machine_with_many_names(void **state)
{
	static char text[GW_PKI_NAMES_MAX * 260 + 100];
	size_t len = (size_t)sprintf(text, "  names: [");
	struct gw_config *config;
	struct gw_pki_info info;

	(void)state;
	for (int i = 0; i < GW_PKI_NAMES_MAX; i++)
		len += (size_t)sprintf(text + len, "%sn%d.%0200d.example", i > 0 ? ", " : "", i, 0);
	sprintf(text + len, "]\n");
	config = config_of(text);
	assert_string_equal(renew(config, &info), "there was none");
	has(info.names, "DNS:n63.");
	assert_null(renew(config, &info));
	gw_config_free(config);
}

static void
test_local_refuses_what_is_not_safe(void **state)
{
	struct gw_config *config = config_of("");
	struct gw_local *local;
	struct gw_pki_info info;
	struct gw_why why;

	(void)state;
	renew(config, &info);
	run("chmod 640 store/pki/ca.key");
	assert_int_equal(gw_local_open(config, &local, &why), GW_E_CONFIG);
	has(why.text, "chmod 600");
	run("chmod 600 store/pki/ca.key && mv store/pki/ca.key key.aside"); // the authority is not made anew over one that devices know
	assert_int_equal(gw_local_open(config, &local, &why), GW_E_CONFIG);
	run("mv key.aside store/pki/ca.key");
	assert_int_equal(gw_local_open(config, &local, &why), GW_OK);
	gw_local_close(local);
	gw_config_free(config);
}

static void
test_local_takes_an_authority_of_the_site(void **state)
{
	struct authority a = authority();
	struct gw_config *config;
	struct gw_pki_info info;

	(void)state;
	put("site.pem", &a.certificate);
	put("site.key", &a.key);
	config = config_of("  local_dir: own\n  local_ca: site.pem\n  local_ca_key: site.key\n");
	assert_string_equal(renew(config, &info), "there was none");
	assert_string_equal(info.issuer, "CN=Test CA");
	run("openssl verify -CAfile site.pem own/gateway.pem && test ! -e own/ca.pem");
	gw_config_free(config);
	authority_free(&a);
}

static void
test_local_list_forgets_nothing(void **state)
{
	struct gw_config *config = config_of("");
	struct gw_pki_revoked one = { "0a", now }, two = { "0b", now };
	struct gw_pki_text pem;
	struct gw_pki_crl *crl;
	struct gw_local *local;
	struct gw_why why;
	bool written;

	(void)state;
	must(gw_local_open(config, &local, &why), &why);
	must(gw_local_revoke(local, NULL, 0, &written, &why), &why);
	assert_true(written);
	must(gw_local_revoke(local, NULL, 0, &written, &why), &why);
	assert_false(written);
	must(gw_local_revoke(local, &one, 1, &written, &why), &why);
	assert_true(written);
	must(gw_local_revoke(local, &two, 1, &written, &why), &why); // a store out of a backup that does not know of the first
	assert_true(written);
	gw_clock_fake_wall(now + 12 * DAY);
	must(gw_local_revoke(local, &two, 1, &written, &why), &why);
	assert_true(written); // a third of its life is gone
	must(gw_pki_read(in_folder("store/pki/crl.pem"), &pem, &why), &why);
	must(gw_pki_crl_read(gw_local_authority(local), span(&pem), &crl, &why), &why);
	assert_int_equal(crl->count, 2);
	assert_true(crl->until_us > now + 40 * DAY);
	gw_clock_fake_wall(now);
	free(crl);
	gw_pki_free(&pem);
	gw_local_close(local);
	gw_config_free(config);
}

static void
test_apply(void **state)
{
	struct gw_config *config = config_of(""), *site = config_of("  certificate: v.yaml\n  key: v.yaml\n"), *both = config_of("  ca: v.yaml\n");
	struct gw_why why;

	(void)state;
	must(gw_local_apply(config, &why), &why);
	has(config->tls_certificate, "store/pki/gateway.pem");
	has(config->tls_ca, "store/pki/ca.pem");
	assert_true(gw_local_used(config));
	must(gw_local_apply(site, &why), &why);
	has(site->tls_certificate, "v.yaml");
	assert_string_equal(site->tls_ca, "");
	assert_false(gw_local_used(site));
	must(gw_local_apply(both, &why), &why);
	has(both->tls_certificate, "store/pki/gateway.pem");
	has(both->tls_ca, "v.yaml"); // authorities of the site's own stay
	gw_config_free(config);
	gw_config_free(site);
	gw_config_free(both);
}

static int
set_up(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/vitalgate-pki-XXXXXX");
	now = gw_clock_wall_us() / 1000000 * 1000000;
	gw_clock_fake_wall(now);
	umask(077);
	return mkdtemp(folder) != NULL ? 0 : -1;
}

static int
tear_down(void **state)
{
	char line[80];

	(void)state;
	gw_clock_fake_wall(INT64_MIN);
	snprintf(line, sizeof(line), "rm -rf %s", folder);
	return system(line);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_certificates_of_every_kind, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_requests, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_an_authority_must_be_one, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_revocation_list, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_p12, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_qr, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_local_is_made_once_and_renewed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_local_of_a_machine_with_many_names, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_local_refuses_what_is_not_safe, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_local_takes_an_authority_of_the_site, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_local_list_forgets_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_apply, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
// Credentials that leave: what is read before the request, and the files that are written of its answer (gateway/cli_handout.h). Files are their owner's alone, and are
// never written over others. Single-threaded.
#include "gateway/cli_handout.h"

#include "adapters/pki/qr.h"

#include "gateway/command_device.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PASSPHRASE_BYTES 256
#define PASSPHRASE_LETTERS 20

static char passphrase[PASSPHRASE_BYTES]; // out of --passphrase-file; empty: one is made for each
static FILE *sheet;
static bool sheet_is_page;
static int last_fd = -1; // of a file that was written

bool
gw_cli_hands_out(const struct gw_cli *cli)
{
	static const char *const names[] = { "device add", "device rotate", "device issue", "device import", "cert issue" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(cli->command->name, names[i]) == 0)
			return true;
	}
	return false;
}

static bool
is_bulk(const struct gw_cli *cli)
{
	return strcmp(cli->command->name, "device import") == 0;
}

static bool
ends_with(const char *path, const char *suffix)
{
	size_t len = strlen(path), end = strlen(suffix);

	return len >= end && strcasecmp(path + len - end, suffix) == 0;
}

// ---- Before the request ----

static enum gw_error
first_line(FILE *file, const char *what, char *out, size_t cap, struct gw_why *why)
{
	bool read = file != NULL && fgets(out, (int)cap, file) != NULL;

	if (file != NULL && file != stdin)
		fclose(file);
	if (!read)
		return gw_fail(why, GW_E_ARGUMENT, "no %s: %s", what, file == NULL ? strerror(errno) : "nothing to read");
	out[strcspn(out, "\r\n")] = '\0';
	return out[0] != '\0' ? GW_OK : gw_fail(why, GW_E_ARGUMENT, "the %s is empty", what);
}

// "password -" and "password-file FILE" become the password.
static enum gw_error
take_secret(struct gw_cli *cli, const char *name, struct gw_why *why)
{
	const char *given = gw_cli_argument(cli, name), *path;
	char option[40], line[1100];
	enum gw_error error;
	FILE *file;

	snprintf(option, sizeof(option), "%s-file", name);
	path = gw_cli_argument(cli, option);
	if (path != NULL && gw_cli_given(cli, name))
		return gw_fail(why, GW_E_ARGUMENT, "--%s and --%s: one of them", name, option);
	if (path == NULL && (given == NULL || strcmp(given, "-") != 0))
		return GW_OK;
	file = path != NULL && strcmp(path, "-") != 0 ? fopen(path, "re") : stdin;
	if (file != NULL)
		setvbuf(file, NULL, file == stdin ? _IOLBF : _IONBF, 0);
	error = first_line(file, name, line, sizeof(line), why);
	if (error == GW_OK)
		yyjson_mut_obj_put(cli->arguments, yyjson_mut_strcpy(cli->request, name), yyjson_mut_strcpy(cli->request, line));
	sodium_memzero(line, sizeof(line));
	return error;
}

static enum gw_error
take_request(struct gw_cli *cli, struct gw_why *why)
{
	const char *path = gw_cli_argument(cli, "csr");
	struct gw_pki_text pem;
	enum gw_error error;

	if (path == NULL)
		return GW_OK;
	if ((error = gw_pki_read(path, &pem, why)) != GW_OK)
		return error;
	yyjson_mut_obj_put(cli->arguments, yyjson_mut_str(cli->request, "csr"), yyjson_mut_strncpy(cli->request, pem.at, pem.len));
	gw_pki_free(&pem);
	return GW_OK;
}

static enum gw_error
check_folder(const char *path, struct gw_why *why)
{
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return gw_fail(why, GW_E_SYSTEM, "cannot make the folder %.120s: %s", path, strerror(errno));
	if (access(path, W_OK | X_OK) != 0)
		return gw_fail(why, GW_E_SYSTEM, "cannot write to %.120s: %s", path, strerror(errno));
	return GW_OK;
}

// One of several: what is in it already could have the same names.
static enum gw_error
check_empty(const char *path, struct gw_why *why)
{
	DIR *folder = opendir(path);
	const struct dirent *entry;
	bool empty = true;

	while (folder != NULL && (entry = readdir(folder)) != NULL)
		empty &= strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
	if (folder != NULL)
		closedir(folder);
	return empty ? GW_OK : gw_fail(why, GW_E_EXISTS, "%.120s is not empty: nothing is written over", path);
}

static enum gw_error
check_file(const char *path, struct gw_why *why)
{
	char copy[PATH_MAX];
	const char *folder;

	snprintf(copy, sizeof(copy), "%s", path);
	folder = dirname(copy);
	if (access(path, F_OK) == 0)
		return gw_fail(why, GW_E_EXISTS, "%.120s is there already: nothing is written over", path);
	if (access(folder, W_OK | X_OK) != 0)
		return gw_fail(why, GW_E_SYSTEM, "cannot write to %.120s: %s", folder, strerror(errno));
	return GW_OK;
}

// Two files named after the device, or whoever it is for.
static enum gw_error
check_pair(const struct gw_cli *cli, const char *folder, struct gw_why *why)
{
	const char *name = gw_cli_argument(cli, "id") != NULL ? gw_cli_argument(cli, "id") : gw_cli_argument(cli, "name");
	char path[PATH_MAX];
	enum gw_error error;

	if (name == NULL || strchr(name, '/') != NULL)
		return gw_fail(why, GW_E_ARGUMENT, "no file can be named \"%.60s\"", name != NULL ? name : "");
	snprintf(path, sizeof(path), "%s/%s.pem", folder, name);
	if ((error = check_file(path, why)) != GW_OK)
		return error;
	snprintf(path, sizeof(path), "%s/%s.key", folder, name);
	return gw_cli_given(cli, "csr") ? GW_OK : check_file(path, why);
}

static enum gw_error
check_places(struct gw_cli *cli, struct gw_why *why)
{
	static const char *const names[] = { "pem", "p12", "qr", "sheet" };
	enum gw_error error = GW_OK;

	for (size_t i = 0; i < 4 && error == GW_OK; i++) {
		const char *path = gw_cli_argument(cli, names[i]);

		if (path == NULL)
			continue;
		if (i == 0 || (is_bulk(cli) && i != 3))
			error = check_folder(path, why);
		if (error == GW_OK && i != 3 && is_bulk(cli))
			error = check_empty(path, why);
		else if (error == GW_OK && i == 0)
			error = check_pair(cli, path, why);
		else if (error == GW_OK)
			error = check_file(path, why);
		if (error == GW_OK && i == 2 && !is_bulk(cli) && !ends_with(path, ".svg") && !ends_with(path, ".png"))
			error = gw_fail(why, GW_E_ARGUMENT, "--qr FILE is a .svg or a .png");
	}
	return error;
}

// Who wants a certificate in a file wants a certificate.
static enum gw_error
check_key(struct gw_cli *cli, struct gw_why *why)
{
	bool p12 = gw_cli_given(cli, "p12"), pem = gw_cli_given(cli, "pem");

	if (gw_cli_given(cli, "csr") && p12)
		return gw_fail(why, GW_E_ARGUMENT, "--p12 holds the key, which stays with who made --csr: take --pem");
	if (is_bulk(cli) && gw_cli_given(cli, "issue") && !p12 && !pem)
		return gw_fail(why, GW_E_ARGUMENT, "--issue makes keys: --p12 DIR or --pem DIR says where they go");
	if ((p12 || pem) && !gw_cli_given(cli, "csr") && !gw_cli_given(cli, "issue"))
		yyjson_mut_obj_add_bool(cli->request, cli->arguments, "issue", true);
	return GW_OK;
}

enum gw_error
gw_cli_prepare_handout(struct gw_cli *cli, struct gw_why *why)
{
	const char *path = gw_cli_argument(cli, "passphrase-file");
	enum gw_error error;

	if (!gw_cli_hands_out(cli))
		return GW_OK;
	error = take_secret(cli, "psk-key", why);
	if (error == GW_OK)
		error = take_secret(cli, "password", why);
	if (error == GW_OK)
		error = take_request(cli, why);
	if (error == GW_OK)
		error = check_key(cli, why);
	if (error == GW_OK && path != NULL)
		error = first_line(fopen(path, "re"), "passphrase", passphrase, sizeof(passphrase), why);
	return error == GW_OK ? check_places(cli, why) : error;
}

// ---- Files of the answer ----

static const char *
text_of(yyjson_mut_val *line, const char *key)
{
	const char *text = yyjson_mut_get_str(yyjson_mut_obj_get(line, key));

	return text != NULL ? text : "";
}

// A new file of its owner's alone, whole or not at all. Hundreds of them are synced at once, in the end.
static bool
write_new(const char *path, struct gw_span bytes)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), kept = errno;
	bool written = fd >= 0;

	for (size_t at = 0; written && at < bytes.len;) {
		ssize_t put = write(fd, bytes.at + at, bytes.len - at);

		written = put > 0 || (put < 0 && errno == EINTR);
		kept = errno;
		at += put > 0 ? (size_t)put : 0;
	}
	if (written) {
		if (last_fd >= 0)
			close(last_fd);
		last_fd = fd;
		return true;
	}
	if (fd >= 0) {
		close(fd);
		unlink(path);
	}
	fprintf(stderr, "vitalgate: %s is not written: %s\n", path, strerror(kept));
	return false;
}

static const char *
name_of(yyjson_mut_val *line)
{
	return text_of(line, "device")[0] != '\0' ? text_of(line, "device") : text_of(line, "name");
}

static void
add_text(yyjson_mut_doc *doc, yyjson_mut_val *line, const char *key, const char *value)
{
	yyjson_mut_obj_put(line, yyjson_mut_strcpy(doc, key), yyjson_mut_strcpy(doc, value));
}

static bool
put_pem(const char *folder, yyjson_mut_doc *doc, yyjson_mut_val *line)
{
	const char *name = name_of(line);
	char path[PATH_MAX];
	bool written;

	snprintf(path, sizeof(path), "%s/%s.pem", folder, name);
	written = write_new(path, gw_span_text(text_of(line, "certificate")));
	add_text(doc, line, "pem_certificate", path);
	if (written && text_of(line, "key")[0] != '\0') {
		snprintf(path, sizeof(path), "%s/%s.key", folder, name);
		written = write_new(path, gw_span_text(text_of(line, "key")));
		add_text(doc, line, "pem_key", path);
	}
	snprintf(path, sizeof(path), "%s/ca.pem", folder);
	(void)gw_pki_write(path, gw_span_text(text_of(line, "ca_pem")), 0644, NULL);
	return written;
}

static bool
put_p12(const struct gw_cli *cli, yyjson_mut_doc *doc, yyjson_mut_val *line)
{
	struct gw_pki_p12 parts = { gw_span_text(text_of(line, "certificate")), gw_span_text(text_of(line, "key")), gw_span_text(text_of(line, "ca_pem")), name_of(line),
		passphrase, gw_cli_given(cli, "p12-legacy") };
	char path[PATH_MAX], made[PASSPHRASE_LETTERS + 1];
	struct gw_pki_text der;
	struct gw_why why;
	bool written;

	snprintf(path, sizeof(path), "%s%s%s%s", gw_cli_argument(cli, "p12"), is_bulk(cli) ? "/" : "", is_bulk(cli) ? name_of(line) : "", is_bulk(cli) ? ".p12" : "");
	if (passphrase[0] == '\0') {
		gw_new_secret(made, PASSPHRASE_LETTERS);
		parts.passphrase = made;
		add_text(doc, line, "p12_passphrase", made);
	}
	if (gw_pki_p12(&parts, &der, &why) != GW_OK) {
		fprintf(stderr, "vitalgate: %s\n", why.text);
		return false;
	}
	written = write_new(path, gw_span(der.at, der.len));
	gw_pki_free(&der);
	sodium_memzero(made, sizeof(made));
	add_text(doc, line, "p12", path);
	return written;
}

static void
put_qr(const struct gw_cli *cli, yyjson_mut_doc *doc, yyjson_mut_val *line)
{
	const char *given = gw_cli_argument(cli, "qr"), *uri = text_of(line, "uri");
	struct gw_pki_text picture = { NULL, 0 };
	char path[PATH_MAX];
	struct gw_why why;
	enum gw_error error;

	if (given == NULL)
		return; // on the terminal: where the line is shown
	snprintf(path, sizeof(path), "%s%s%s%s", given, is_bulk(cli) ? "/" : "", is_bulk(cli) ? name_of(line) : "", is_bulk(cli) ? ".svg" : "");
	error = ends_with(path, ".png") ? gw_qr_png(uri, &picture, &why) : gw_qr_svg(uri, &picture, &why);
	if (error != GW_OK)
		fprintf(stderr, "vitalgate: no QR code of %s: %s\n", name_of(line), why.text);
	else if (write_new(path, gw_span(picture.at, picture.len)))
		add_text(doc, line, "qr", path);
	gw_pki_free(&picture);
}

static void
put_sheet(const struct gw_cli *cli, yyjson_mut_doc *doc, yyjson_mut_val *line)
{
	const char *path = gw_cli_argument(cli, "sheet");
	int fd;

	if (sheet == NULL) {
		fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		sheet = fd >= 0 ? fdopen(fd, "w") : NULL;
		if (sheet == NULL) {
			fprintf(stderr, "vitalgate: %s is not written: %s\n", path, strerror(errno));
			return;
		}
		sheet_is_page = ends_with(path, ".html") || ends_with(path, ".htm");
		gw_sheet_head(sheet, sheet_is_page);
	}
	gw_sheet_put(sheet, sheet_is_page, line);
	add_text(doc, line, "sheet", path);
}

void
gw_cli_handout(const struct gw_cli *cli, yyjson_mut_doc *doc, yyjson_mut_val *line)
{
	bool issued = text_of(line, "certificate")[0] != '\0', kept = true;

	if (issued && gw_cli_given(cli, "pem"))
		kept = put_pem(gw_cli_argument(cli, "pem"), doc, line) && kept;
	if (issued && gw_cli_given(cli, "p12"))
		kept = put_p12(cli, doc, line) && kept;
	if (text_of(line, "uri")[0] != '\0' && gw_cli_given(cli, "qr"))
		put_qr(cli, doc, line);
	if (text_of(line, "uri")[0] != '\0' && gw_cli_given(cli, "sheet"))
		put_sheet(cli, doc, line);
	if (!kept && is_bulk(cli)) // of one alone it stands in the answer
		fprintf(stderr, "vitalgate: what is nowhere else of %s:\n%s%s", name_of(line), text_of(line, "certificate"), text_of(line, "key"));
	if (issued && kept && (gw_cli_given(cli, "pem") || gw_cli_given(cli, "p12")))
		yyjson_mut_obj_remove_key(line, "key"); // it is in the file, and nowhere else
}

void
gw_cli_handout_end(void)
{
	if (last_fd >= 0 && syncfs(last_fd) != 0)
		fprintf(stderr, "vitalgate: the files may not be on the disk: %s\n", strerror(errno));
	if (last_fd >= 0)
		close(last_fd);
	last_fd = -1;
	sodium_memzero(passphrase, sizeof(passphrase));
	if (sheet == NULL)
		return;
	gw_sheet_end(sheet, sheet_is_page);
	if (fclose(sheet) != 0)
		fprintf(stderr, "vitalgate: the sheet is not whole: %s\n", strerror(errno));
	sheet = NULL;
}

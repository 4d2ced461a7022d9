// SPDX-License-Identifier: Apache-2.0
// A backup's manifest: JSON, one file, written when all else is whole and synced. What is read back is checked like any input: names are known ones.
#include "gateway/backup.h"

#include "gateway/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <yyjson.h>

#define MANIFEST_BYTES_MAX 65536

static const char *const ciphers[] = { [GW_BACKUP_PLAIN] = "none", [GW_BACKUP_PASSPHRASE] = "passphrase", [GW_BACKUP_PUBLIC_KEY] = "public-key" };

const char *
gw_backup_cipher_name(enum gw_backup_cipher cipher)
{
	return (size_t)cipher < 3 ? ciphers[cipher] : "unknown";
}

// ---- Writing ----

static void
add_hex(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key, const uint8_t *at, size_t len)
{
	char hex[2 * GW_BACKUP_HASH + 1];

	sodium_bin2hex(hex, sizeof(hex), at, len);
	yyjson_mut_obj_add_strcpy(doc, object, key, hex);
}

static void
add_time(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key, int64_t us)
{
	char text[40];

	yyjson_mut_obj_add_strcpy(doc, object, key, gw_time_format(us, text));
}

static char *
render(const struct gw_manifest *manifest, size_t *len)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc), *files;
	char incarnation[20], *text;

	yyjson_mut_doc_set_root(doc, root);
	snprintf(incarnation, sizeof(incarnation), "%016" PRIx64, manifest->incarnation);
	yyjson_mut_obj_add_uint(doc, root, "format", GW_BACKUP_FORMAT);
	yyjson_mut_obj_add_strcpy(doc, root, "program", manifest->program);
	add_hex(doc, root, "id", manifest->id, sizeof(manifest->id));
	add_time(doc, root, "begun", manifest->begun_us);
	add_time(doc, root, "made", manifest->made_us);
	yyjson_mut_obj_add_strcpy(doc, root, "incarnation", incarnation);
	yyjson_mut_obj_add_uint(doc, root, "last_position", manifest->last);
	yyjson_mut_obj_add_str(doc, root, "encryption", gw_backup_cipher_name(manifest->cipher));
	files = yyjson_mut_obj_add_arr(doc, root, "files");
	for (size_t i = 0; i < manifest->file_count; i++) {
		yyjson_mut_val *file = yyjson_mut_arr_add_obj(doc, files);

		yyjson_mut_obj_add_str(doc, file, "name", manifest->files[i].name);
		yyjson_mut_obj_add_str(doc, file, "file", manifest->files[i].file);
		yyjson_mut_obj_add_uint(doc, file, "bytes", manifest->files[i].bytes);
		add_hex(doc, file, "blake2b", manifest->files[i].hash, GW_BACKUP_HASH);
	}
	text = yyjson_mut_write(doc, YYJSON_WRITE_PRETTY, len);
	yyjson_mut_doc_free(doc);
	return text;
}

enum gw_error
gw_manifest_write(int folder_fd, const struct gw_manifest *manifest, struct gw_why *why)
{
	static const char part[] = GW_BACKUP_MANIFEST ".part";
	enum gw_error error = GW_OK;
	size_t len;
	char *text = render(manifest, &len);
	int fd;

	if (text == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	fd = openat(folder_fd, part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		free(text);
		return gw_fail(why, GW_E_SYSTEM, "cannot make %s: %s", part, strerror(errno));
	}
	if ((error = gw_backup_write_all(fd, (const uint8_t *)text, len, part, why)) == GW_OK &&
	    (error = gw_backup_write_all(fd, (const uint8_t *)"\n", 1, part, why)) == GW_OK && fsync(fd) != 0)
		error = gw_fail(why, GW_E_SYNC, "cannot sync %s: %s", part, strerror(errno));
	close(fd);
	if (error == GW_OK && (renameat(folder_fd, part, folder_fd, GW_BACKUP_MANIFEST) != 0 || fsync(folder_fd) != 0)) {
		error = gw_fail(why, GW_E_SYNC, "cannot rename %s: %s", part, strerror(errno));
		unlinkat(folder_fd, GW_BACKUP_MANIFEST, 0);
	}
	if (error != GW_OK)
		unlinkat(folder_fd, part, 0);
	free(text);
	return error;
}

// ---- Reading ----

static bool
take_text(yyjson_val *object, const char *key, char *out, size_t cap)
{
	const char *text = yyjson_get_str(yyjson_obj_get(object, key));

	return text != NULL && text[0] != '\0' && (size_t)snprintf(out, cap, "%s", text) < cap;
}

static bool
take_hex(yyjson_val *object, const char *key, uint8_t *out, size_t len)
{
	const char *text = yyjson_get_str(yyjson_obj_get(object, key));
	size_t got;

	return text != NULL && sodium_hex2bin(out, len, text, strlen(text), NULL, &got, NULL) == 0 && got == len;
}

static bool
take_time(yyjson_val *object, const char *key, int64_t *us)
{
	const char *text = yyjson_get_str(yyjson_obj_get(object, key));

	return text != NULL && gw_time_parse(text, us) == 0;
}

// A file lies in the folder itself, under the name that follows from what it is.
static bool
take_file(yyjson_val *object, enum gw_backup_cipher cipher, struct gw_backup_file *file)
{
	char expected[32];

	if (!take_text(object, "name", file->name, sizeof(file->name)) || !take_text(object, "file", file->file, sizeof(file->file)) ||
	    !take_hex(object, "blake2b", file->hash, GW_BACKUP_HASH) || !yyjson_is_uint(yyjson_obj_get(object, "bytes")))
		return false;
	file->bytes = yyjson_get_uint(yyjson_obj_get(object, "bytes"));
	snprintf(expected, sizeof(expected), "%s.mdb%s", file->name, cipher != GW_BACKUP_PLAIN ? ".enc" : "");
	return strchr(file->name, '/') == NULL && strcmp(expected, file->file) == 0;
}

static bool
take_cipher(yyjson_val *root, enum gw_backup_cipher *cipher)
{
	for (size_t i = 0; i < 3; i++) {
		if (yyjson_equals_str(yyjson_obj_get(root, "encryption"), ciphers[i])) {
			*cipher = (enum gw_backup_cipher)i;
			return true;
		}
	}
	return false;
}

static bool
take_manifest(yyjson_val *root, struct gw_manifest *manifest)
{
	yyjson_val *files = yyjson_obj_get(root, "files"), *file;
	uint8_t incarnation[8];
	size_t i, max;

	if (!take_text(root, "program", manifest->program, sizeof(manifest->program)) || !take_hex(root, "id", manifest->id, GW_BACKUP_ID) ||
	    !take_time(root, "begun", &manifest->begun_us) || !take_time(root, "made", &manifest->made_us) ||
	    !take_hex(root, "incarnation", incarnation, sizeof(incarnation)) || !yyjson_is_uint(yyjson_obj_get(root, "last_position")) ||
	    !take_cipher(root, &manifest->cipher) || yyjson_arr_size(files) == 0 || yyjson_arr_size(files) > GW_BACKUP_FILES_MAX)
		return false;
	for (i = 0; i < sizeof(incarnation); i++)
		manifest->incarnation = manifest->incarnation << 8 | incarnation[i];
	manifest->last = yyjson_get_uint(yyjson_obj_get(root, "last_position"));
	yyjson_arr_foreach(files, i, max, file) {
		if (!take_file(file, manifest->cipher, &manifest->files[manifest->file_count++]))
			return false;
	}
	return true;
}

static enum gw_error
load(int folder_fd, char *text, size_t cap, size_t *len, struct gw_why *why)
{
	int fd = openat(folder_fd, GW_BACKUP_MANIFEST, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t got;

	if (fd < 0 && errno == ENOENT)
		return gw_fail(why, GW_E_NOT_FOUND, "no " GW_BACKUP_MANIFEST " there: that is no backup, or one that was never finished");
	if (fd < 0)
		return gw_fail(why, GW_E_SYSTEM, "cannot open " GW_BACKUP_MANIFEST ": %s", strerror(errno));
	got = read(fd, text, cap);
	close(fd);
	if (got < 0)
		return gw_fail(why, GW_E_SYSTEM, "cannot read " GW_BACKUP_MANIFEST ": %s", strerror(errno));
	*len = (size_t)got;
	return GW_OK;
}

enum gw_error
gw_manifest_read(int folder_fd, struct gw_manifest *manifest, struct gw_why *why)
{
	char *text = malloc(MANIFEST_BYTES_MAX);
	yyjson_doc *doc = NULL;
	size_t len = 0;
	enum gw_error error;

	*manifest = (struct gw_manifest){ 0 };
	if (text == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	if ((error = load(folder_fd, text, MANIFEST_BYTES_MAX, &len, why)) != GW_OK)
		goto out;
	doc = yyjson_read(text, len, 0);
	if (yyjson_get_uint(yyjson_obj_get(yyjson_doc_get_root(doc), "format")) > GW_BACKUP_FORMAT)
		error = gw_fail(why, GW_E_VERSION, "the backup is of a newer format than this program knows: use a newer one");
	else if (!take_manifest(yyjson_doc_get_root(doc), manifest))
		error = gw_fail(why, GW_E_CORRUPT, GW_BACKUP_MANIFEST " is damaged");
out:
	yyjson_doc_free(doc);
	free(text);
	return error;
}

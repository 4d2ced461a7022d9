// SPDX-License-Identifier: Apache-2.0
// Files of keys and certificates: written aside and renamed, so that whoever watches or reads them finds a whole one. Any thread.
#include "adapters/pki/pki.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES_MAX (1u << 20)

static bool
write_all(int fd, struct gw_span bytes)
{
	for (size_t at = 0; at < bytes.len;) {
		ssize_t put = write(fd, bytes.at + at, bytes.len - at);

		if (put < 0 && errno != EINTR)
			return false;
		at += put > 0 ? (size_t)put : 0;
	}
	return true;
}

static void
sync_folder(const char *path)
{
	char copy[PATH_MAX];
	int fd;

	snprintf(copy, sizeof(copy), "%s", path);
	if ((fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		return;
	(void)fsync(fd);
	close(fd);
}

enum gw_error
gw_pki_write(const char *path, struct gw_span bytes, mode_t mode, struct gw_why *why)
{
	char aside[PATH_MAX];
	int fd, kept;

	if (snprintf(aside, sizeof(aside), "%s.XXXXXX", path) >= (int)sizeof(aside))
		return gw_fail(why, GW_E_ARGUMENT, "the path %.100s... is too long", path);
	if ((fd = mkostemp(aside, O_CLOEXEC)) < 0)
		return gw_fail(why, GW_E_SYSTEM, "cannot write %.120s: %s", path, strerror(errno));
	if (fchmod(fd, mode) == 0 && write_all(fd, bytes) && fsync(fd) == 0 && rename(aside, path) == 0) {
		close(fd);
		sync_folder(path);
		return GW_OK;
	}
	kept = errno;
	close(fd);
	unlink(aside);
	return gw_fail(why, GW_E_SYSTEM, "cannot write %.120s: %s", path, strerror(kept));
}

enum gw_error
gw_pki_read(const char *path, struct gw_pki_text *text, struct gw_why *why)
{
	FILE *file = fopen(path, "re");
	bool whole;

	*text = (struct gw_pki_text){ NULL, 0 };
	if (file == NULL)
		return gw_fail(why, errno == ENOENT ? GW_E_NOT_FOUND : GW_E_SYSTEM, "cannot read %.120s: %s", path, strerror(errno));
	setvbuf(file, NULL, _IONBF, 0); // no copy of a key is left behind
	if ((text->at = malloc(FILE_BYTES_MAX + 1)) != NULL)
		text->len = fread(text->at, 1, FILE_BYTES_MAX, file);
	whole = text->at != NULL && !ferror(file) && text->len < FILE_BYTES_MAX;
	fclose(file);
	if (!whole) {
		gw_pki_free(text);
		return gw_fail(why, GW_E_SYSTEM, "cannot read %.120s, or it is too large", path);
	}
	text->at[text->len] = '\0';
	return GW_OK;
}

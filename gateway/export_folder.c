// SPDX-License-Identifier: Apache-2.0
// The folder of exports on schedule (gateway/export_folder.h). One thread.
#include "gateway/export_folder.h"

#include "gateway/clock.h"
#include "gateway/export.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOUR_US INT64_C(3600000000)

void
gw_export_path(int64_t from_us, bool hours, char out[GW_EXPORT_NAME_MAX])
{
	char time[40];

	gw_time_format(from_us, time); // "2026-11-20T14:00:00Z"
	snprintf(out, GW_EXPORT_NAME_MAX, hours ? "date=%.10s/hour=%.2s" : "date=%.10s", time, time + 11);
}

void
gw_export_name(uint32_t revision, const char *suffix, bool gzip, char out[GW_EXPORT_NAME_MAX])
{
	if (revision <= 1)
		snprintf(out, GW_EXPORT_NAME_MAX, "readings%s%s", suffix, gzip ? ".gz" : "");
	else
		snprintf(out, GW_EXPORT_NAME_MAX, "readings-r%u%s%s", revision, suffix, gzip ? ".gz" : "");
}

// ---- One period ----

static enum gw_error
make_folder(int at_fd, const char *name, int *fd, struct gw_why *why)
{
	bool made = mkdirat(at_fd, name, 0700) == 0;

	if ((!made && errno != EEXIST) || (*fd = openat(at_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)) < 0)
		return gw_fail(why, errno == ENOSPC || errno == EDQUOT ? GW_E_FULL : GW_E_SYSTEM, "cannot make the folder %s: %s", name, strerror(errno));
	if (made)
		(void)fsync(at_fd);
	return GW_OK;
}

enum gw_error
gw_export_folder_open(int dir_fd, int64_t from_us, bool hours, int *fd, struct gw_why *why)
{
	char path[GW_EXPORT_NAME_MAX], *hour;
	enum gw_error error;
	int date_fd;

	gw_export_path(from_us, hours, path);
	if ((hour = strchr(path, '/')) == NULL)
		return make_folder(dir_fd, path, fd, why);
	*hour++ = '\0';
	if ((error = make_folder(dir_fd, path, &date_fd, why)) != GW_OK)
		return error;
	error = make_folder(date_fd, hour, fd, why);
	close(date_fd);
	return error;
}

// The revision that a name tells; 0: no file of ours. What others put beside it ("readings.parquet") is not.
static uint32_t
revision_of(const char *name)
{
	unsigned revision = 1;
	char made[GW_EXPORT_NAME_MAX];

	if (strncmp(name, "readings-r", 10) == 0 && sscanf(name + 10, "%9u", &revision) != 1)
		return 0;
	for (int i = GW_EXPORT_CSV; i <= GW_EXPORT_SENML; i++) {
		for (int gzip = 0; gzip < 2; gzip++) {
			gw_export_name(revision, gw_export_suffix((enum gw_export_format)i), gzip, made);
			if (strcmp(name, made) == 0)
				return revision;
		}
	}
	return 0;
}

// What an attempt leaves that was cut short: ".readings.csv.gz.123.part".
static bool
is_left_over(const char *name)
{
	size_t len = strlen(name);

	return len > 5 && strcmp(name + len - 5, ".part") == 0 && (strncmp(name, ".readings", 9) == 0 || strncmp(name, "." GW_EXPORT_MANIFEST, 15) == 0);
}

static DIR *
open_dir(int at_fd, const char *name)
{
	int fd = openat(at_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

	if (fd >= 0 && dir == NULL)
		close(fd);
	return dir;
}

void
gw_export_folder_list(int dir_fd, int64_t from_us, bool hours, struct gw_export_files *files)
{
	char path[GW_EXPORT_NAME_MAX];
	struct dirent *entry;
	DIR *dir;

	*files = (struct gw_export_files){ 0 };
	gw_export_path(from_us, hours, path);
	if ((dir = open_dir(dir_fd, path)) == NULL)
		return;
	while ((entry = readdir(dir)) != NULL && files->count < GW_EXPORT_FILES_MAX) {
		uint32_t revision = revision_of(entry->d_name);

		if (revision == 0)
			continue;
		snprintf(files->names[files->count++], GW_EXPORT_NAME_MAX, "%.63s", entry->d_name);
		files->revision = revision > files->revision ? revision : files->revision;
	}
	closedir(dir);
}

// ---- All of them ----

struct place {
	char path[GW_EXPORT_NAME_MAX];
	int64_t end_us;
	uint64_t bytes, files;
};

struct places {
	struct place *at;
	size_t count, cap;
	bool failed;
};

// Whether it is a period's folder by its name, and when that ends.
static bool
end_of(const char *date, const char *hour, int64_t *end_us)
{
	int64_t from_us;
	char text[40];

	if (strncmp(date, "date=", 5) != 0 || strlen(date) != 15)
		return false;
	snprintf(text, sizeof(text), "%sT%.2s:00:00Z", date + 5, hour != NULL && strncmp(hour, "hour=", 5) == 0 && strlen(hour) == 7 ? hour + 5 : "00");
	if (gw_time_parse(text, &from_us) != 0)
		return false;
	*end_us = from_us + (hour != NULL ? HOUR_US : 24 * HOUR_US);
	return true;
}

static void
add_place(struct places *places, const struct place *place)
{
	struct place *more;

	if (places->count == places->cap) {
		size_t cap = places->cap == 0 ? 256 : places->cap * 2;

		if ((more = realloc(places->at, cap * sizeof(*more))) == NULL) {
			places->failed = true;
			return;
		}
		places->at = more;
		places->cap = cap;
	}
	places->at[places->count++] = *place;
}

// A period's folder: leftovers go, the rest is counted.
static void
look_into(int at_fd, const char *name, const char *date, const char *hour, struct places *places)
{
	struct place place = { 0 };
	bool told = false; // a manifest alone is left where nothing is left of the readings
	struct dirent *entry;
	struct stat at;
	DIR *dir;

	if (!end_of(date, hour, &place.end_us) || (dir = open_dir(at_fd, name)) == NULL)
		return;
	snprintf(place.path, sizeof(place.path), hour != NULL ? "%.20s/%.20s" : "%.20s", date, hour != NULL ? hour : "");
	while ((entry = readdir(dir)) != NULL) {
		if (is_left_over(entry->d_name))
			(void)unlinkat(dirfd(dir), entry->d_name, 0);
		else if (revision_of(entry->d_name) > 0 && fstatat(dirfd(dir), entry->d_name, &at, AT_SYMLINK_NOFOLLOW) == 0) {
			place.files++;
			place.bytes += (uint64_t)at.st_size;
		} else
			told |= strcmp(entry->d_name, GW_EXPORT_MANIFEST) == 0;
	}
	closedir(dir);
	if (place.files > 0 || told)
		add_place(places, &place);
}

static void
look_into_date(int dir_fd, const char *date, struct places *places)
{
	struct dirent *entry;
	DIR *dir;

	look_into(dir_fd, date, date, NULL, places);
	if ((dir = open_dir(dir_fd, date)) == NULL)
		return;
	while ((entry = readdir(dir)) != NULL)
		if (strncmp(entry->d_name, "hour=", 5) == 0)
			look_into(dirfd(dir), entry->d_name, date, entry->d_name, places);
	closedir(dir);
}

static void
remove_place(int dir_fd, const struct place *place)
{
	char date[GW_EXPORT_NAME_MAX];
	struct dirent *entry;
	DIR *dir = open_dir(dir_fd, place->path);

	if (dir == NULL)
		return;
	while ((entry = readdir(dir)) != NULL)
		if (revision_of(entry->d_name) > 0 || strcmp(entry->d_name, GW_EXPORT_MANIFEST) == 0)
			(void)unlinkat(dirfd(dir), entry->d_name, 0);
	closedir(dir);
	(void)unlinkat(dir_fd, place->path, AT_REMOVEDIR); // stays where somebody put something else into it
	snprintf(date, sizeof(date), "%.15s", place->path);
	if (strchr(place->path, '/') != NULL)
		(void)unlinkat(dir_fd, date, AT_REMOVEDIR);
}

static int
by_end(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	return (x->end_us > y->end_us) - (x->end_us < y->end_us);
}

enum gw_error
gw_export_folder_sweep(int dir_fd, int64_t before_us, uint64_t bytes_max, struct gw_export_usage *usage)
{
	struct places places = { 0 };
	struct dirent *entry;
	DIR *dir = open_dir(dir_fd, ".");

	*usage = (struct gw_export_usage){ 0 };
	if (dir == NULL)
		return GW_E_SYSTEM;
	while ((entry = readdir(dir)) != NULL)
		if (strncmp(entry->d_name, "date=", 5) == 0)
			look_into_date(dirfd(dir), entry->d_name, &places);
	closedir(dir);
	if (places.count > 0)
		qsort(places.at, places.count, sizeof(*places.at), by_end);
	for (size_t i = 0; i < places.count; i++) {
		usage->bytes += places.at[i].bytes;
		usage->files += places.at[i].files;
	}
	for (size_t i = 0; i + 1 < places.count && (places.at[i].end_us < before_us || (bytes_max > 0 && usage->bytes > bytes_max)); i++) {
		remove_place(dir_fd, &places.at[i]);
		usage->bytes -= places.at[i].bytes;
		usage->files -= places.at[i].files;
		usage->removed++;
	}
	free(places.at);
	return places.failed ? GW_E_MEMORY : GW_OK;
}

// SPDX-License-Identifier: Apache-2.0
// Runs a fuzz target over files, and over all files of folders: the corpus as an ordinary test, where the target is not linked with libFuzzer.
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int replay_path(const char *path);

static int
replay_file(const char *path, size_t size)
{
	FILE *file = fopen(path, "rb");
	// Exactly as large as the file, so that a sanitizer sees the first byte beyond it.
	uint8_t *data = malloc(size > 0 ? size : 1);
	int runs = 0;

	if (file == NULL || data == NULL || fread(data, 1, size, file) != size)
		fprintf(stderr, "%s: cannot be read: %s\n", path, strerror(errno));
	else {
		LLVMFuzzerTestOneInput(data, size);
		runs = 1;
	}
	if (file != NULL)
		fclose(file);
	free(data);
	return runs;
}

static int
replay_folder(const char *path)
{
	DIR *folder = opendir(path);
	struct dirent *entry;
	int runs = 0;

	while (folder != NULL && (entry = readdir(folder)) != NULL) {
		char inner[4096];
		if (entry->d_name[0] == '.')
			continue;
		snprintf(inner, sizeof(inner), "%s/%s", path, entry->d_name);
		runs += replay_path(inner);
	}
	if (folder != NULL)
		closedir(folder);
	return runs;
}

int
replay_path(const char *path)
{
	struct stat about;

	if (stat(path, &about) != 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return 0;
	}
	return S_ISDIR(about.st_mode) ? replay_folder(path) : replay_file(path, (size_t)about.st_size);
}

int
main(int argc, char **argv)
{
	int runs = 0;

	for (int i = 1; i < argc; i++)
		runs += replay_path(argv[i]);
	printf("%d inputs\n", runs);
	return runs > 0 ? 0 : 1; // an empty corpus tests nothing
}

// SPDX-License-Identifier: Apache-2.0
// The command line's entry: which command, which configuration, and the commands that need neither daemon nor store. Single-threaded until `run`.
#include "gateway/cli.h"

#include "adapters/pki/local.h"

#include "gateway/cli_handlers.h"
#include "gateway/cli_handout.h"
#include "gateway/nearest.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct gw_cli_command commands[] = {
#define LOCAL(name, arguments, help, run) { name, arguments, help, run, NULL },
#define COMMAND(name, arguments, help, handler, show) { name, arguments, help, NULL, show },
#include "gateway/commands.def"
#undef LOCAL
#undef COMMAND
};
#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

const struct gw_cli_command *
gw_cli_command_at(size_t i)
{
	return i < COMMAND_COUNT ? &commands[i] : NULL;
}

// ---- Help ----

// Wraps at 100 columns, between words that are not inside brackets.
static void
print_wrapped(const char *text, int column, int indent, FILE *out)
{
	int depth = 0;

	while (*text != '\0') {
		size_t len = 0;

		while (text[len] != '\0' && (text[len] != ' ' || depth > 0)) {
			depth += (text[len] == '[') - (text[len] == ']');
			len++;
		}
		if (column + (int)len + 1 > 100) {
			fprintf(out, "\n%*s", indent - 1, "");
			column = indent - 1;
		}
		fprintf(out, " %.*s", (int)len, text);
		column += (int)len + 1;
		text += len + strspn(text + len, " ");
	}
}

void
gw_cli_usage(const struct gw_cli_command *command, FILE *out)
{
	int column = fprintf(out, "Usage: vitalgate %s", command->name);

	print_wrapped(command->arguments, column, 11, out);
	fprintf(out, " [-c FILE]\n       %s\n", command->help);
}

static void
print_help(FILE *out)
{
	fprintf(out, "vitalgate %s: gateway for bedside devices\n\nUsage: vitalgate COMMAND [ARGUMENTS] [-c FILE]\n\n", VITALGATE_VERSION);
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		fprintf(out, "  %-18s %s\n", commands[i].name, commands[i].help);
	fprintf(out, "\n`vitalgate help COMMAND` gives a command's arguments.\n"
	    "-c FILE names the configuration; otherwise $VITALGATE_CONFIG, ./vitalgate.yaml or /etc/vitalgate/vitalgate.yaml.\n");
}

// Commands whose name begins with word: "device" -> all of them.
static size_t
print_group(const char *word, FILE *out)
{
	size_t len = strlen(word), found = 0;

	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		if (strncmp(commands[i].name, word, len) != 0 || (commands[i].name[len] != ' ' && commands[i].name[len] != '\0'))
			continue;
		gw_cli_usage(&commands[i], out);
		found++;
	}
	return found;
}

int
gw_cli_help(struct gw_cli *cli)
{
	const char *word = gw_cli_argument(cli, "command-name"), *second = gw_cli_argument(cli, "second-word");
	char name[64];

	if (word == NULL) {
		print_help(stdout);
		return 0;
	}
	snprintf(name, sizeof(name), "%.30s%s%.30s", word, second != NULL ? " " : "", second != NULL ? second : "");
	if (print_group(name, stdout) > 0)
		return 0;
	fprintf(stderr, "vitalgate: there is no command \"%s\"\n", name);
	return GW_EXIT_USAGE;
}

// ---- Configuration ----

static const char *
find_config(void)
{
	static const char *const places[] = { "vitalgate.yaml", "/etc/vitalgate/vitalgate.yaml" };
	const char *path = getenv("VITALGATE_CONFIG");

	if (path != NULL && path[0] != '\0')
		return path;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		if (access(places[i], F_OK) == 0)
			return places[i];
	}
	return NULL;
}

static bool
has_config(struct gw_cli *cli)
{
	if (cli->config_path == NULL)
		cli->config_path = find_config();
	if (cli->config_path == NULL)
		fprintf(stderr, "vitalgate: no configuration: give one with -c FILE (or $VITALGATE_CONFIG, ./vitalgate.yaml, "
		    "/etc/vitalgate/vitalgate.yaml); `vitalgate options --yaml` prints one to start from\n");
	return cli->config_path != NULL;
}

struct gw_config *
gw_cli_config(struct gw_cli *cli)
{
	struct gw_config *config = NULL;
	struct gw_why why = { "" };

	if (has_config(cli) && gw_config_load(cli->config_path, &config, &why) != GW_OK)
		fprintf(stderr, "vitalgate: %s\n", why.text);
	return config;
}

// Loads and checks what running needs; NULL after having said why not.
static struct gw_config *
load_checked(struct gw_cli *cli)
{
	struct gw_config *config = NULL;
	struct gw_why why = { "" };

	if (!has_config(cli))
		return NULL;
	if (gw_nomenclature_open(&why) != GW_OK || gw_parts_config(cli->config_path, cli->parts, cli->part_count, &config, &why) != GW_OK)
		fprintf(stderr, "vitalgate: %s\n", why.text);
	return config;
}

// ---- Commands that are done here ----

int
gw_cli_run(struct gw_cli *cli)
{
	struct gw_config *config = load_checked(cli);
	struct gw_why why = { "" };
	int code;

	if (config == NULL)
		return GW_EXIT_START;
	if (gw_local_apply(config, &why) != GW_OK) {
		fprintf(stderr, "vitalgate: %s\n", why.text);
		gw_config_free(config);
		return GW_EXIT_START;
	}
	code = gw_daemon_run(config, cli->parts, cli->part_count);
	gw_config_free(config);
	return code;
}

int
gw_cli_check(struct gw_cli *cli)
{
	struct gw_config *config = load_checked(cli);
	struct gw_profiles *profiles = NULL;
	struct gw_why why = { "" };
	int code = GW_EXIT_START;

	if (config == NULL)
		return code;
	if (gw_profiles_load(config->profiles_dir[0] != '\0' ? config->profiles_dir : NULL, &profiles, &why) != GW_OK)
		fprintf(stderr, "vitalgate: %s\n", why.text);
	else {
		gw_config_print(config, stdout);
		code = 0;
	}
	gw_profiles_free(profiles);
	gw_config_free(config);
	return code;
}

int
gw_cli_options(struct gw_cli *cli)
{
	if (gw_cli_given(cli, "yaml"))
		gw_config_sample(stdout);
	else
		gw_config_help(stdout);
	return 0;
}

// ---- Which command ----

// The command that argv begins with, two words before one; *words says how many. NULL for none.
static const struct gw_cli_command *
find_command(int argc, char **argv, int *words)
{
	char name[64];

	for (*words = 2; *words > 0; --*words) {
		if (*words > argc)
			continue;
		snprintf(name, sizeof(name), *words == 2 ? "%s %s" : "%s", argv[0], argc > 1 ? argv[1] : "");
		for (size_t i = 0; i < COMMAND_COUNT; i++) {
			if (strcmp(commands[i].name, name) == 0)
				return &commands[i];
		}
	}
	return NULL;
}

static int
no_command(int argc, char **argv)
{
	struct gw_nearest nearest;
	char name[128], hint[160];

	snprintf(name, sizeof(name), "%.60s", argv[0]);
	if (argc == 1 && print_group(name, stderr) > 0)
		return GW_EXIT_USAGE;
	if (argc > 1 && argv[1][0] != '-')
		snprintf(name, sizeof(name), "%.60s %.60s", argv[0], argv[1]);
	gw_nearest_init(&nearest, gw_span_text(name));
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		gw_nearest_try(&nearest, commands[i].name);
	fprintf(stderr, "vitalgate: there is no command \"%s\"%s (see: vitalgate help)\n", name, gw_nearest_words(&nearest, hint));
	return GW_EXIT_USAGE;
}

// Takes "-c FILE" out of argv, wherever it stands. Returns the new argc, -1 where FILE is missing.
static int
take_config(struct gw_cli *cli, int argc, char **argv)
{
	int kept = 0;

	for (int i = 0; i < argc; i++) {
		if (strcmp(argv[i], "-c") != 0) {
			argv[kept++] = argv[i];
			continue;
		}
		if (++i == argc)
			return -1;
		cli->config_path = argv[i];
	}
	argv[kept] = NULL;
	return kept;
}

static int
usage_error(const struct gw_cli *cli, const struct gw_why *why)
{
	fprintf(stderr, "vitalgate %s: %s\n", cli->command->name, why->text);
	gw_cli_usage(cli->command, stderr);
	return GW_EXIT_USAGE;
}

// What the daemon cannot read for us: a file, standard input.
static enum gw_error
prepare(struct gw_cli *cli, struct gw_why *why)
{
	enum gw_error error = gw_cli_prepare_handout(cli, why);

	if (error == GW_OK && strstr(cli->command->arguments, "FILE.csv") != NULL)
		error = gw_cli_read_csv(gw_cli_argument(cli, "file"), cli->request, cli->arguments, why);
	if (error == GW_OK && strcmp(cli->command->name, "backup") == 0)
		error = gw_cli_prepare_backup(cli, why);
	return error;
}

static int
do_command(struct gw_cli *cli, int argc, char **argv)
{
	struct gw_config *config;
	struct gw_why why = { "" };
	int code;

	if (argc == 1 && strcmp(argv[0], "--help") == 0) {
		gw_cli_usage(cli->command, stdout);
		return 0;
	}
	if (!gw_cli_parse(cli, argc, argv, &why))
		return usage_error(cli, &why);
	if (cli->command->local != NULL)
		return cli->command->local(cli);
	if (strcmp(cli->command->name, "verify") == 0 && gw_cli_given(cli, "dir"))
		return gw_cli_verify_backup(cli);
	if (prepare(cli, &why) != GW_OK) {
		fprintf(stderr, "vitalgate: %s\n", why.text);
		return GW_EXIT_START;
	}
	config = gw_cli_config(cli);
	if (config == NULL) {
		if (strcmp(cli->command->name, "reload") == 0)
			puts("nothing has changed");
		return GW_EXIT_START;
	}
	code = gw_cli_request(cli, config);
	gw_config_free(config);
	return code;
}

int
gw_cli_main(int argc, char **argv, const struct gw_part *const *parts, size_t part_count)
{
	struct gw_cli cli = { .parts = parts, .part_count = part_count };
	int words, code;

	argc = take_config(&cli, argc - 1, argv + 1);
	argv++;
	if (argc < 0) {
		fprintf(stderr, "vitalgate: -c needs a file\n");
		return GW_EXIT_USAGE;
	}
	if (argc > 0 && (strcmp(argv[0], "--version") == 0 || strcmp(argv[0], "-V") == 0)) {
		printf("vitalgate %s\n", VITALGATE_VERSION);
		return 0;
	}
	if (argc == 0 || strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0) {
		print_help(argc == 0 ? stderr : stdout);
		return argc == 0 ? GW_EXIT_USAGE : 0;
	}
	cli.command = find_command(argc, argv, &words);
	if (cli.command == NULL)
		return no_command(argc, argv);
	cli.request = yyjson_mut_doc_new(NULL);
	cli.arguments = yyjson_mut_obj(cli.request);
	yyjson_mut_doc_set_root(cli.request, cli.arguments);
	yyjson_mut_obj_add_str(cli.request, cli.arguments, "command", cli.command->name);
	code = do_command(&cli, argc - words, argv + words);
	yyjson_mut_doc_free(cli.request);
	return code;
}

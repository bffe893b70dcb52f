/* SPDX-License-Identifier: MIT */
/* options.c — the options of the word counter's hosted programs. */
#include "run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void usage(const program_t *p)
{
    printf("usage: %s [options] [FILE | -]\n"
           "Prints the most frequent words of FILE (standard input without one) and how often they occur.\n"
           "A word is a run of ASCII letters; case is ignored.\n"
           "  -n, --top N         words to print (default 20; 0 = all)\n"
           "  -w, --workers N     worker threads, 1 to 256 (default: one for each CPU)\n"
           "  -m, --memory MIB    the kernel's memory, 16 MiB to what the machine has (default 512)\n"
           "  -c, --chunk BYTES   text read at a time, 16 to 67108864 (default %u)\n"
           "%s"
           "      --trace FILE    write a trace of the run in Fuchsia's format (Perfetto opens it)\n"
           "      --metrics       write metrics in Prometheus' text format to standard error\n"
           "  -h, --help          this text\n",
           p->name, wc_config.chunk_bytes - WC_CHUNK_HEAD - WC_CHUNK_PAD, p->more_usage);
}

uint64_t parse_number(const program_t *p, const char *option, const char *text, uint64_t low, uint64_t high)
{
    char *end;

    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || v < low || v > high) {
        fprintf(stderr, "%s: %s: '%s' is not a number from %llu to %llu\n", p->name, option, text,
                (unsigned long long)low, (unsigned long long)high);
        exit(EXIT_USAGE);
    }
    return v;
}

/* What the kernel could have at most without paging, in MiB. */
static uint64_t machine_memory(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);

    return pages < 1 || size < 1 ? 1048576 : (uint64_t)pages * (uint64_t)size >> 20;
}

/* More than there is would be refused by the system at best, and touched page by page at worst. */
static uint64_t memory_option(const program_t *p, const char *text)
{
    uint64_t mib = parse_number(p, "--memory", text, 16, 1048576), most = machine_memory();

    if (mib > most) {
        fprintf(stderr, "%s: --memory: %llu MiB are more than the %llu MiB this machine has\n", p->name,
                (unsigned long long)mib, (unsigned long long)most);
        exit(EXIT_USAGE);
    }
    return mib << 20;
}

static uint32_t chunk_option(const program_t *p, const char *text)
{
    return (uint32_t)parse_number(p, "--chunk", text, 16, 67108864) + WC_CHUNK_HEAD + WC_CHUNK_PAD;
}

/* Ends the program with a line about the option that getopt_long(3) stopped at. */
static void bad_option(const program_t *p, int c, char **argv)
{
    const char letter[3] = {'-', (char)optopt, '\0'};
    bool unknown_letter = c == '?' && optopt > 0 && optopt < 128 && !strchr("nwmctMh", optopt);

    fprintf(stderr, "%s: %s '%s' (%s --help lists them)\n", p->name,
            c == ':' ? "no value for the option" : "unknown option",
            unknown_letter ? letter : argv[optind - 1], p->name);
    exit(EXIT_USAGE);
}

static void help(const program_t *p)
{
    usage(p);
    if (fflush(stdout) || ferror(stdout))
        exit(complain(p, "standard output", strerror(errno)));
    exit(0);
}

/*
 * A quarter of the memory is for text in flight: so many chunks, and the two that the reader has.  What
 * cannot work is said before anything is read.
 */
static void share_memory(const program_t *p)
{
    uint64_t fit = p->opt.memory / 4 / wc_config.chunk_bytes;
    uint64_t most = p->most_chunks ? p->most_chunks : 2 * (uint64_t)p->opt.workers + 2;

    if (fit < 4) {
        fprintf(stderr, "%s: --chunk %u needs --memory %llu or more, not %llu\n", p->name,
                wc_config.chunk_bytes - WC_CHUNK_HEAD - WC_CHUNK_PAD,
                (unsigned long long)((16 * (uint64_t)wc_config.chunk_bytes + (1 << 20) - 1) >> 20),
                (unsigned long long)(p->opt.memory >> 20));
        exit(EXIT_USAGE);
    }
    wc_config.chunk_slots = (uint32_t)(fit - 2 < most ? fit - 2 : most);
    wc_config.word_max = p->opt.memory / 16;
}

static uint32_t cpu_count(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);

    return n < 1 ? 1 : n > (long)GMK_MAX_WORKERS ? GMK_MAX_WORKERS : (uint32_t)n;
}

enum { COMMON_OPTIONS = 7, MORE_OPTIONS = 8 };

/* Every program's options, the program's own, and the end of the table. */
static void option_table(const program_t *p, struct option table[COMMON_OPTIONS + MORE_OPTIONS + 1])
{
    static const struct option common[COMMON_OPTIONS] = {
        {"top", required_argument, NULL, 'n'},    {"workers", required_argument, NULL, 'w'},
        {"memory", required_argument, NULL, 'm'}, {"chunk", required_argument, NULL, 'c'},
        {"trace", required_argument, NULL, 't'},  {"metrics", no_argument, NULL, 'M'},
        {"help", no_argument, NULL, 'h'},
    };

    memset(table, 0, (COMMON_OPTIONS + MORE_OPTIONS + 1) * sizeof(*table));
    memcpy(table, common, sizeof(common));
    for (uint32_t i = 0; i < p->n_more_options && i < MORE_OPTIONS; i++)
        table[COMMON_OPTIONS + i] = p->more_options[i];
}

void parse_options(program_t *p, int argc, char **argv)
{
    struct option names[COMMON_OPTIONS + MORE_OPTIONS + 1];
    options_t *o = &p->opt;
    int c;

    *o = (options_t){.file = "-", .workers = cpu_count(), .memory = (uint64_t)512 << 20};
    option_table(p, names);
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":n:w:m:c:h", names, NULL)) != -1) {
        switch (c) {
        case 'n': wc_config.top = parse_number(p, "--top", optarg, 0, UINT64_MAX); break;
        case 'w': o->workers = (uint32_t)parse_number(p, "--workers", optarg, 1, GMK_MAX_WORKERS); break;
        case 'm': o->memory = memory_option(p, optarg); break;
        case 'c': wc_config.chunk_bytes = chunk_option(p, optarg); break;
        case 't': o->trace = optarg; break;
        case 'M': o->metrics = true; break;
        case 'h': help(p); break;
        default:
            if (c < 256)
                bad_option(p, c, argv);
            p->option(p, c, optarg);
        }
    }
    if (argc - optind > 1) {
        fprintf(stderr, "%s: one file at a time: what is '%s'?\n", p->name, argv[optind + 1]);
        exit(EXIT_USAGE);
    }
    if (optind < argc)
        o->file = argv[optind];
    share_memory(p);
}

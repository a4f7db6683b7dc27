/* A coin source: whoever is called alice_kas mines kas. */
#include <string.h>

#include "switcher_plugin.h"

#define STR(literal) { (const uint8_t *)(literal), sizeof(literal) - 1 }

static const SwHost *host;

/* There is nothing to remember but where to post, so that is all a run consists of. */
static int32_t start(const SwSource *self, SwStr config, SwStr saved, SwSink *sink, void **running,
                     SwError *error) {
    static const char detail[] = "asks nobody";
    SwNotice well = { .size = sizeof well, .kind = SW_HEALTH, .number = 1, .text = STR(detail) };
    (void)self, (void)config, (void)saved, (void)error;
    host->post(sink, &well);
    *running = sink;
    return SW_OK;
}

/* The first session of a sub-account has come: an answer is due. */
static void wanted(void *running, const SwWanted *wanted) {
    SwNotice answer = { .size = sizeof answer, .kind = SW_UNKNOWN };
    SwWeight weight = { .weight = 1.0 };
    size_t at = wanted->sub_account.len;
    if (wanted->kind != SW_ACQUIRE) return;
    while (at > 0 && wanted->sub_account.ptr[at - 1] != '_') at--;
    if (at > 1 && at < wanted->sub_account.len) {
        weight.coin.ptr = wanted->sub_account.ptr + at;
        weight.coin.len = wanted->sub_account.len - at;
        answer.kind = SW_ASSIGN;
        answer.coins = &weight;
        answer.n_coins = 1;
        answer.origin = (SwStr)STR("its name");
    }
    answer.sub_account = wanted->sub_account;
    host->post(running, &answer);
}

/* No thread to end, no memory to free, nothing to hand to the next run. */
static int32_t stop(void *running, SwBuf *state, SwError *error) {
    (void)running, (void)state, (void)error;
    return SW_OK;
}

static const SwSource suffix = {
    .size = sizeof suffix,
    .name = STR("suffix"),
    .about = STR("the coin stands in the name"),
    .start = start,
    .wanted = wanted,
    .stop = stop,
};

static const SwSource *const sources[] = { &suffix };

static const SwPlugin plugin = {
    .size = sizeof plugin,
    .abi_minor = SW_ABI_MINOR,
    .name = STR("suffix"),
    .version = STR("1.0.0"),
    .build = STR(__VERSION__),
    .sources = sources,
    .n_sources = 1,
};

const SwPlugin *switcher_plugin_v1(const SwHost *its_host, SwError *error) {
    (void)error;
    host = its_host;
    return &plugin;
}

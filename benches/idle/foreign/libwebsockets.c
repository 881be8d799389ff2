/* A server made with libwebsockets, on the event loop of libuv, since its own is poll. The library keeps
 * timers in a sorted list, which thousands of them are too many for, its own of each connection included:
 * one timer of 10 ms serves those whose turn it is. Arguments: interval and timeout, ms. */

#include <inttypes.h>
#include <libwebsockets.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define TICK (10 * LWS_US_PER_MS)

struct session {
    lws_dll2_t turn;
    struct lws *wsi;
    lws_usec_t heard;
};

static lws_usec_t timeout;
static atomic_ulong held, written, answered, ended;

/* The connections that are pinged at each tick of an interval, and the last tick that came. */
static lws_dll2_owner_t *turns;
static uint32_t turn_count;
static lws_usec_t last;

static struct lws_context *context;
static lws_sorted_usec_list_t timer;

static void tick(lws_sorted_usec_list_t *none)
{
    lws_usec_t now = lws_now_usecs();
    (void)none;
    while (last < now / TICK) {
        last++;
        lws_start_foreach_dll(struct lws_dll2 *, item, turns[last % turn_count].head) {
            lws_callback_on_writable(lws_container_of(item, struct session, turn)->wsi);
        } lws_end_foreach_dll(item);
    }
    lws_sul_schedule(context, 0, &timer, tick, TICK - now % TICK);
}

static int ping(struct session *session)
{
    unsigned char frame[LWS_PRE + 4] = {[LWS_PRE] = 1, 2, 3, 4};
    if (lws_now_usecs() - session->heard > timeout)
        return -1;
    if (lws_write(session->wsi, frame + LWS_PRE, 4, LWS_WRITE_PING) < 4)
        return -1;
    written++;
    return 0;
}

static void open_session(struct session *session, struct lws *wsi)
{
    session->wsi = wsi;
    session->heard = lws_now_usecs();
    /* Golden-ratio steps spread the connections that come at once. */
    uint32_t phase = (uint32_t)held++ * 0x9E3779B9u;
    lws_dll2_add_tail(&session->turn, &turns[(uint64_t)phase * turn_count >> 32]);
}

static int handle(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
    struct session *session = user;
    switch (reason) {
    case LWS_CALLBACK_ESTABLISHED:
        open_session(session, wsi);
        return 0;
    case LWS_CALLBACK_SERVER_WRITEABLE:
        return ping(session);
    case LWS_CALLBACK_RECEIVE_PONG:
        session->heard = lws_now_usecs();
        answered++;
        return 0;
    case LWS_CALLBACK_CLOSED:
        lws_dll2_remove(&session->turn);
        held--;
        ended++;
        return 0;
    default:
        return lws_callback_http_dummy(wsi, reason, user, in, len);
    }
}

static void *answer_commands(void *none)
{
    char line[64];
    while (fgets(line, sizeof line, stdin)) {
        struct timespec cpu;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
        printf("{\"numbers\":{\"held\":%lu,\"written\":%lu,\"answered\":%lu,\"ended\":%lu,"
               "\"cpu\":%" PRId64 "},\"times\":{}}\n",
               held, written, answered, ended, cpu.tv_sec * INT64_C(1000000000) + cpu.tv_nsec);
        fflush(stdout);
    }
    exit(0);
    return none;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    turn_count = atoll(argv[1]) * LWS_US_PER_MS / TICK;
    turns = calloc(turn_count, sizeof *turns);
    last = lws_now_usecs() / TICK;
    timeout = atoll(argv[2]) * LWS_US_PER_MS;
    lws_set_log_level(LLL_ERR, NULL);

    /* The buffer of each connection fits what is expected. */
    const struct lws_protocols protocols[] = {
        {"idle", handle, sizeof(struct session), 128, 0, NULL, 0},
        {NULL, NULL, 0, 0, 0, NULL, 0},
    };
    const lws_retry_bo_t no_timers = {0};
    struct lws_context_creation_info info = {
        .port = 0,
        .iface = "127.0.0.1",
        .protocols = protocols,
        .options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS,
        .retry_and_idle_policy = &no_timers,
    };
    context = lws_create_context(&info);
    struct lws_vhost *vhost = context ? lws_create_vhost(context, &info) : NULL;
    if (!vhost)
        return 1;
    printf("127.0.0.1:%d\n", lws_get_vhost_listen_port(vhost));
    fflush(stdout);

    pthread_t thread;
    pthread_create(&thread, NULL, answer_commands, NULL);
    tick(NULL);
    while (lws_service(context, 0) >= 0)
        ;
    return 1;
}

// A server made with uWebSockets. Its own pings come when most of a timeout has passed, and its timers
// are descriptors: one timer of 10 ms pings those whose turn it is. Its own timeout, in steps of four
// seconds, finds the silent. Arguments: interval and timeout, ms; for TLS the files of a certificate and
// its key.

#include <App.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <iostream>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

struct Session {
    size_t turn;
};

#ifdef LIBUS_USE_OPENSSL
static const bool SECURE = true;
#else
static const bool SECURE = false;
#endif

using Socket = uWS::WebSocket<SECURE, true, Session>;

static const std::chrono::milliseconds TICK(10);

static std::atomic<unsigned long> held, written, answered, ended;

// The connections that are pinged at each tick of an interval.
static std::vector<std::unordered_set<Socket *>> turns;

static size_t ticks() {
    return std::chrono::steady_clock::now().time_since_epoch() / TICK;
}

static void ping(us_timer_t *) {
    static size_t last = ticks();
    for (size_t now = ticks(); last < now;) {
        last++;
        for (Socket *socket : turns[last % turns.size()]) {
            socket->send("\1\2\3\4", uWS::OpCode::PING);
            written++;
        }
    }
}

static void answerCommands() {
    for (std::string command; std::getline(std::cin, command);) {
        timespec cpu;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
        std::printf("{\"numbers\":{\"held\":%lu,\"written\":%lu,\"answered\":%lu,\"ended\":%lu,"
                    "\"cpu\":%lld},\"times\":{}}\n",
                    held.load(), written.load(), answered.load(), ended.load(),
                    cpu.tv_sec * 1'000'000'000LL + cpu.tv_nsec);
        std::fflush(stdout);
    }
    std::exit(0);
}

int main(int, char **arguments) {
    turns.resize(std::chrono::milliseconds(std::atoi(arguments[1])) / TICK);
    unsigned short timeout = (std::atoi(arguments[2]) + 3'999) / 4'000 * 4;

#ifdef LIBUS_USE_OPENSSL
    uWS::SSLApp app({.key_file_name = arguments[4], .cert_file_name = arguments[3]});
#else
    uWS::App app;
#endif
    app.ws<Session>("/*", {
        .compression = uWS::DISABLED,
        .maxPayloadLength = 1024,
        .idleTimeout = std::max<unsigned short>(timeout, 8),
        .sendPingsAutomatically = false,
        .open = [](Socket *socket) {
            // Golden-ratio steps spread the connections that come at once.
            uint32_t phase = uint32_t(held++) * 0x9E3779B9u;
            size_t turn = uint64_t(phase) * turns.size() >> 32;
            socket->getUserData()->turn = turn;
            turns[turn].insert(socket);
        },
        .pong = [](Socket *, std::string_view) { answered++; },
        .close = [](Socket *socket, int, std::string_view) {
            turns[socket->getUserData()->turn].erase(socket);
            held--;
            ended++;
        },
    });
    app.listen("127.0.0.1", 0, [](us_listen_socket_t *listener) {
        if (!listener)
            std::exit(1);
        std::cout << "127.0.0.1:" << us_socket_local_port(SECURE, (us_socket_t *)listener) << std::endl;
    });
    us_timer_t *timer = us_create_timer((us_loop_t *)uWS::Loop::get(), 0, 0);
    us_timer_set(timer, ping, TICK.count(), TICK.count());
    std::thread(answerCommands).detach();
    app.run();
}

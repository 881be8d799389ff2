//! What `serve` is to do: all that was configured, put together and checked. Nothing is opened yet.

use std::env;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use heartwheel::PeerAddr;
use heartwheel::config::{
    AdmissionConfig, HeartbeatConfig, LimitsConfig, ProxyConfig, ReactorConfig, WebConfig, WireKind,
};
use heartwheel::reactor::{ListenAddr, ListenerConfig, SocketOptions, WireFactory};
use heartwheel::rustls::ServerConfig;

use crate::Failure;
use crate::args::{Mode, ServeArgs, WholeFlags};
use crate::certs::CertFlags;
use crate::flags::in_words;
use crate::listening::{Place, hints, hints_over_tls, program_name};
use crate::output::Output;
use crate::record::Record;
use crate::settings::environment::{self, Environment};
use crate::settings::file::Sheet;
use crate::settings::keys::{Keys, Scope, key_of};
use crate::settings::{Fault, Origin, Settings};

/// Where the configuration comes from. It can be read again.
#[derive(Debug)]
pub(crate) struct Sources {
    keys: Keys,
    file: Option<PathBuf>,
    environment: Settings,
    flags: Settings,
}

/// What was read: for the whole program, and for each listener.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) whole: WholeFlags,
    /// What was given for that.
    pub(crate) settings: Settings,
    pub(crate) plans: Vec<Plan>,
    /// What is odd, but no mistake.
    pub(crate) warnings: Vec<String>,
    /// Nobody has said where to listen.
    pub(crate) is_default: bool,
}

/// One place to listen on, checked.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) flag: &'static str,
    pub(crate) wire: WireKind,
    pub(crate) place: Place,
    pub(crate) service: Service,
    pub(crate) heartbeat: HeartbeatConfig,
    pub(crate) limits: LimitsConfig,
    pub(crate) admission: AdmissionConfig,
    pub(crate) proxy: ProxyConfig,
    pub(crate) web: WebConfig,
    pub(crate) socket: SocketOptions,
    /// For a listener with TLS.
    pub(crate) certs: Option<CertFlags>,
    /// What was given for it.
    pub(crate) settings: Settings,
}

/// What is done for those who come to a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) mode: Mode,
    pub(crate) subprotocols: Vec<String>,
    /// Any, if there are none.
    pub(crate) paths: Vec<String>,
    pub(crate) has_health: bool,
}

impl Sources {
    /// Takes what was given by flags, and the file that they or the environment name. Also returns what is odd
    /// about the environment.
    pub(crate) fn new(
        flags: Settings,
        file: Option<PathBuf>,
    ) -> Result<(Self, Vec<String>), Failure> {
        let keys = Keys::new();
        let environment = Environment::read(&keys, env::vars_os())?;
        let named = env::var_os(environment::FILE).filter(|name| !name.is_empty());
        let sources = Self {
            keys,
            file: file.or_else(|| named.map(PathBuf::from)),
            environment: environment.settings,
            flags,
        };
        Ok((sources, environment.warnings))
    }

    /// No flags, no variables and no file.
    pub(crate) fn none() -> Self {
        Self {
            keys: Keys::new(),
            file: None,
            environment: Settings::default(),
            flags: Settings::default(),
        }
    }

    /// Says whether there is a file.
    pub(crate) fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Reads the file, and puts everything together. Returns all that is wrong.
    pub(crate) fn read(&self) -> Result<Setup, Vec<Fault>> {
        let sheet = match &self.file {
            Some(file) => Sheet::read(&self.keys, file)?,
            None => Sheet::default(),
        };
        self.put_together(&sheet)
    }

    fn put_together(&self, sheet: &Sheet) -> Result<Setup, Vec<Fault>> {
        let is_place = |key: &str| self.keys.scope(key) == Scope::Place;
        let common = sheet.top.without(is_place);
        let over = self
            .environment
            .clone()
            .under(&self.flags)
            .without(is_place);
        let given = common.clone().under(&over);
        let args = self.keys.parse(&given).map_err(|fault| vec![fault])?;
        if let Err(error) = reactor_config(&args.whole).check() {
            return Err(vec![self.fault(error.into(), &given)]);
        }
        let places = self.places(sheet);
        let mut setup = Setup {
            settings: given.without(|key| self.keys.scope(key) != Scope::Whole),
            plans: Vec::new(),
            warnings: Vec::new(),
            is_default: places.is_empty() && sheet.listeners.is_empty(),
            whole: args.whole,
        };
        let mut faults = Vec::new();
        if sheet.listeners.is_empty() || !places.is_empty() {
            setup.plan(self.plans(&given.clone().under(&places)), &mut faults);
            if !sheet.listeners.is_empty() {
                setup.warnings.push(LEFT_OUT.into());
            }
        } else {
            for table in &sheet.listeners {
                let given = common.clone().under(&table.settings).under(&over);
                let planned = self.plans(&given).and_then(|plans| {
                    self.demand_use_by(&plans, &table.settings)?;
                    Ok(plans)
                });
                let here = |fault: Fault| Fault {
                    origin: fault.origin.or_else(|| Some(table.origin.clone())),
                    ..fault
                };
                setup.plan(planned.map_err(here), &mut faults);
            }
        }
        if let Err(unused) = demand_use(&setup.plans, &args.listener.certs) {
            faults.push(self.fault(unused, &given));
        }
        match faults.is_empty() {
            true => Ok(setup),
            false => Err(faults),
        }
    }

    /// Returns the listeners that flags name, else variables, else the file in front of its tables.
    fn places(&self, sheet: &Sheet) -> Settings {
        let layers = [&self.flags, &self.environment, &sheet.top].into_iter();
        let is_other = |key: &str| self.keys.scope(key) != Scope::Place;
        let mut places = layers.map(|layer| layer.without(is_other));
        places.find(|places| !places.is_empty()).unwrap_or_default()
    }

    /// Plans the listeners that were given, or the usual ones.
    fn plans(&self, given: &Settings) -> Result<Vec<Plan>, Fault> {
        let args = self.keys.parse(given)?;
        plans(&args, given).map_err(|failure| self.fault(failure, given))
    }

    /// Refuses certificates of a listener that does not use them.
    fn demand_use_by(&self, plans: &[Plan], own: &Settings) -> Result<(), Fault> {
        if plans.iter().any(|plan| plan.certs.is_some()) {
            return Ok(());
        }
        for key in ["cert", "key", "client_ca"] {
            let given = own.get(key).filter(|setting| !setting.values.is_empty());
            if let Some(setting) = given {
                let said = format!(
                    "{key} is for TLS, and this listener does not speak it; give it wss or tls_tcp instead"
                );
                return Err(Fault::at(setting.origin.clone(), said));
            }
        }
        Ok(())
    }

    /// Says where it was written what is wrong. It begins with the flag; in a file that is a key.
    fn fault(&self, failure: Failure, given: &Settings) -> Fault {
        let said = failure.message;
        let flag = said.split_whitespace().next().unwrap_or_default();
        let key = key_of(flag);
        match given.get(&key).map(|setting| &setting.origin) {
            None => Fault { origin: None, said },
            Some(origin @ Origin::Flag(_)) => Fault::at(origin.clone(), said),
            Some(origin) => Fault::at(origin.clone(), self.keys.in_keys(&said)),
        }
    }
}

impl Setup {
    /// Adds what was planned. What is wrong with a key for all listeners is told once.
    fn plan(&mut self, planned: Result<Vec<Plan>, Fault>, faults: &mut Vec<Fault>) {
        match planned {
            Ok(planned) => self.plans.extend(planned),
            Err(fault) if faults.contains(&fault) => {}
            Err(fault) => faults.push(fault),
        }
    }
}

/// Turns what was given into listeners.
fn plans(args: &ServeArgs, given: &Settings) -> Result<Vec<Plan>, Failure> {
    if args.whole.drain.is_zero() {
        return Err(Failure::usage(
            "--drain must not be zero; give a time such as 8s",
        ));
    }
    let mut plans = Vec::new();
    for group in args.places.groups() {
        for place in group.places {
            plans.push(plan(args, given, group.flag, group.wire, place.clone())?);
            if group.is_secure
                && let Some(plan) = plans.last_mut()
            {
                plan.certs = Some(args.listener.certs.clone());
            }
        }
    }
    if plans.is_empty() {
        for (flag, wire, port) in [
            ("--ws", WireKind::WebSocket, 9001),
            ("--tcp", WireKind::Line, 9002),
        ] {
            let place = Place::Tcp((Ipv4Addr::LOCALHOST, port).into());
            let web = args.listener.web.web(true);
            let plan = plan(args, given, flag, wire, place)?;
            plans.push(Plan { web, ..plan });
        }
    }
    Ok(plans)
}

fn plan(
    args: &ServeArgs,
    given: &Settings,
    flag: &'static str,
    wire: WireKind,
    place: Place,
) -> Result<Plan, Failure> {
    let flags = &args.listener;
    let base = HeartbeatConfig::for_wire(wire);
    let heartbeat = flags.heartbeat.heartbeat(wire, base)?;
    let limits = flags.limits.limits(flags.mode.limits())?;
    let plan = Plan {
        flag,
        wire,
        place,
        service: Service {
            mode: flags.mode,
            subprotocols: flags.subprotocol.clone(),
            paths: flags.path.clone(),
            has_health: wire == WireKind::WebSocket && !flags.no_health,
        },
        heartbeat,
        limits,
        admission: flags.admission.admission(),
        proxy: flags.proxy.proxy(wire),
        web: flags.web.web(false),
        socket: flags.socket.options()?,
        certs: None,
        settings: given.clone(),
    };
    let config = plan.terms(ListenerConfig::nowhere(factory(wire)));
    config.check(args.whole.tick)?;
    Ok(plan)
}

/// Refuses certificates that no listener uses.
fn demand_use(plans: &[Plan], common: &CertFlags) -> Result<(), Failure> {
    match plans.iter().any(|plan| plan.certs.is_some()) {
        true => Ok(()),
        false => common.demand_none(),
    }
}

impl Service {
    /// Says whether a WebSocket client may ask for this path.
    pub(crate) fn serves(&self, path: &str) -> bool {
        self.paths.is_empty() || self.paths.iter().any(|ours| ours == path)
    }
}

impl Plan {
    /// Returns what one loop is to listen with; where there are several the port is shared.
    pub(crate) fn config(
        &self,
        addr: Option<ListenAddr>,
        is_shared: bool,
        tls: Option<Arc<ServerConfig>>,
    ) -> ListenerConfig {
        ListenerConfig {
            tls,
            socket: SocketOptions {
                reuse_port: is_shared,
                ..self.socket.clone()
            },
            addr,
            ..self.terms(ListenerConfig::nowhere(factory(self.wire)))
        }
    }

    /// Says what holds for those who come.
    fn terms(&self, config: ListenerConfig) -> ListenerConfig {
        ListenerConfig {
            heartbeat: self.heartbeat.clone(),
            limits: self.limits.clone(),
            admission: self.admission.clone(),
            proxy: self.proxy.clone(),
            answer_when_full: self.service.has_health,
            web: self.web.clone(),
            socket: self.socket.clone(),
            ..config
        }
    }

    /// Returns the scheme of the URL that leads there; events call the listener so.
    pub(crate) const fn scheme(&self) -> &'static str {
        if self.certs.is_none() {
            return self.wire.label();
        }
        match self.wire {
            WireKind::WebSocket => "wss",
            WireKind::Line => "tcps",
            WireKind::Binary => "tcps+binary",
            WireKind::Raw | WireKind::Own => "tcps+raw",
        }
    }

    /// Returns its scheme and its place, as they were asked for.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.scheme(), self.place)
    }

    /// Says where it listens, for how long silence is borne, and what to try. `name` is what a client may ask
    /// for.
    pub(crate) fn tell(&self, addr: &PeerAddr, name: Option<&str>, output: &mut Output) {
        let (wire, heartbeat, scheme) = (self.wire, &self.heartbeat, self.scheme());
        output.record(
            &Record::new("listening")
                .phrase(format!("listening {scheme} {addr}"))
                .word("wire", scheme)
                .word("addr", addr)
                .maybe_time("interval", heartbeat.interval)
                .maybe_time("timeout", heartbeat.timeout),
        );
        output.say(&format!("    {}", in_words(heartbeat)));
        let program = program_name();
        let hints = match self.certs {
            Some(_) => hints_over_tls(scheme, addr, name, &program),
            None => hints(wire, addr, heartbeat.interval.is_some(), &program),
        };
        for hint in hints {
            output.say(&format!("    {hint}"));
        }
    }
}

fn factory(wire: WireKind) -> WireFactory {
    match wire {
        WireKind::WebSocket => WireFactory::WebSocket,
        WireKind::Line => WireFactory::Line,
        WireKind::Binary => WireFactory::Binary,
        WireKind::Raw | WireKind::Own => WireFactory::Raw,
    }
}

/// Returns what loops are configured with.
pub(crate) fn reactor_config(whole: &WholeFlags) -> ReactorConfig {
    ReactorConfig {
        tick: whole.tick,
        max_connections: whole.max_connections,
        memory_limit: whole.memory_limit(),
        ..ReactorConfig::default()
    }
}

/// Said when the tables of a file have no effect.
const LEFT_OUT: &str = "the tables [[listener]] of the file have no effect, because listeners are given by flags, by \
                        variables or above the first table";

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Plans what a file and some flags ask for.
    pub(crate) fn setup(file: &str, flags: &[&str]) -> Result<Setup, Vec<String>> {
        let keys = Keys::new();
        let flags = keys.typed(flags).expect("flags");
        let sources = Sources {
            keys: Keys::new(),
            file: None,
            environment: Settings::default(),
            flags,
        };
        let sheet = Sheet::parse(&keys, "a.toml".into(), file);
        let setup = sheet.and_then(|sheet| sources.put_together(&sheet));
        setup.map_err(|faults| faults.iter().map(Fault::to_string).collect())
    }

    /// Returns the rules for web pages of the listeners that these flags ask for.
    fn web(flags: &[&str]) -> Vec<WebConfig> {
        let setup = setup("", flags).expect("it makes sense");
        setup.plans.into_iter().map(|plan| plan.web).collect()
    }

    #[test]
    fn only_names_of_loopback_lead_to_the_addresses_that_nobody_asked_for() {
        let by_default = web(&[]);
        assert!(by_default.iter().all(|web| web.loopback_hosts));
        assert!(by_default.iter().all(|web| web.hosts.is_empty()));
        let more = web(&["--allow-host", "dev.example"]);
        assert!(more[0].loopback_hosts && more[0].hosts == ["dev.example"]);
        assert_eq!(web(&["--allow-host", "any"])[0], WebConfig::default());
        // A proxy may pass any name on to an address that somebody chose.
        assert_eq!(web(&["--ws", "127.0.0.1:9001"])[0], WebConfig::default());
    }

    #[test]
    fn a_listener_goes_before_what_is_for_all_and_a_flag_before_both() {
        let file = "interval = \"20s\"\n[[listener]]\nws = \":1\"\ninterval = \"5s\"\n\
                    [[listener]]\ntcp = \":2\"";
        let intervals = |flags: &[&str]| {
            let setup = setup(file, flags).expect("it makes sense");
            let plans = setup.plans.iter();
            let secs = |plan: &Plan| plan.heartbeat.interval.map(|it| it.as_secs());
            plans.map(secs).collect::<Vec<_>>()
        };
        assert_eq!(intervals(&[]), [Some(5), Some(20)]);
        assert_eq!(intervals(&["--interval", "7s"]), [Some(7), Some(7)]);
        assert_eq!(intervals(&["--tcp", ":3"]), [Some(20)]);
    }

    #[test]
    fn what_does_not_go_together_is_told_where_it_was_written() {
        for (file, flags, said) in [
            (
                "interval = \"5s\"\ntimeout = \"2s\"",
                &[][..],
                "a.toml:2: timeout 2s must be longer than interval 5s; 2 to 3 times it is usual, such as timeout 12.5s",
            ),
            (
                "[[listener]]\nws = \":1\"\nping_slack = \"20s\"",
                &[],
                "a.toml:3: ping_slack must be less than a quarter of the interval",
            ),
            (
                "timeout = \"2s\"",
                &["--interval", "5s"],
                "a.toml:1: timeout 2s must be longer than interval 5s; 2 to 3 times it is usual, such as timeout 12.5s",
            ),
            (
                "[[listener]]\nwss = \":1\"\n[[listener]]\nws = \":2\"\ncert = \"a\"",
                &[],
                "a.toml:5: cert is for TLS, and this listener does not speak it; give it wss or tls_tcp instead",
            ),
            (
                "tick = \"2s\"",
                &[],
                "a.toml:1: tick must be whole milliseconds from 1ms to 1s",
            ),
            (
                "",
                &["--tick", "2s"],
                "--tick must be whole milliseconds from 1ms to 1s",
            ),
            (
                "deflate_level = 3",
                &[],
                "a.toml:1: deflate_level needs deflate",
            ),
        ] {
            assert_eq!(setup(file, flags).expect_err("nonsense"), [said], "{file}");
        }
    }

    #[test]
    fn everything_wrong_is_told_at_once_and_what_is_wrong_for_all_once() {
        let file = "timeout = \"1s\"\n[[listener]]\nws = \":1\"\ninterval = \"5s\"\n[[listener]]\n\
                    tcp = \":2\"\nproof = \"pong\"\ninterval = \"off\"";
        assert_eq!(setup(file, &[]).expect_err("nonsense").len(), 2);
        let file = "interval = \"5s\"\ntimeout = \"1s\"\n[[listener]]\nws = \":1\"\n[[listener]]\ntcp = \":2\"";
        assert_eq!(setup(file, &[]).expect_err("nonsense").len(), 1);
    }
}

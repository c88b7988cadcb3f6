#!/usr/bin/env escript
%%! +S 2:2 +P 2000000
%% The workloads of suite `rt` in Erlang/OTP, with the same counts and the same regions.
%%
%% Without arguments it reads lines `KIND WORKLOAD` and answers each with one line of numbers. KIND is `otp`, gen_servers
%% below a supervisor, or `plain`, processes that receive, with mailboxes off their heaps. With `idle COUNT` it measures what
%% idle gen_servers keep, prints three numbers and ends.
-module(airssys_bench_actors).
-mode(compile).
-behaviour(gen_server).
-export([main/1, init/1, start_link/1, handle_call/3, handle_cast/2, handle_info/2, loop/1]).

-define(MESSAGES, 320000).
-define(MESSAGES_WARM, 32000).
-define(FAN_OUT, 100).
-define(ASKS, 30000).
-define(ASKS_WARM, 2000).
-define(RING, 100).
-define(HOPS, 100000).
-define(HOPS_WARM, 2000).
-define(SPAWNS, 5000).
-define(RESTARTS, 500).
-define(BACKLOG, 1000000).
-define(KILLS, 500).
-define(KILLS_BACKLOG, 1000).
-define(TIMEOUT, 5000).

%% What one actor does, whichever kind it is.
-record(worker, {owner, gate, next, goal = 0, handled = 0, sum = 0}).

main(["idle", Count]) ->
    quiet(),
    idle(list_to_integer(Count));
main([]) ->
    quiet(),
    io:format("~s~n", [erlang:system_info(otp_release)]),
    serve().

%% Crashes that a workload asked for are no news.
quiet() ->
    logger:set_primary_config(level, none),
    process_flag(trap_exit, true).

serve() ->
    case io:get_line("") of
        eof ->
            halt(0);
        Line ->
            [Kind, Workload] = [list_to_existing_atom(Word) || Word <- string:lexemes(string:trim(Line), " ")],
            Numbers = run(Kind, Workload),
            io:format("~s~n", [lists:join(" ", [float_to_list(float(N), [{decimals, 3}]) || N <- Numbers])]),
            serve()
    end.

run(Kind, tell_1_1) -> throughput(Kind, 1, 1);
run(Kind, fan_in_4_1) -> throughput(Kind, 4, 1);
run(Kind, fan_in_64_1) -> throughput(Kind, 64, 1);
run(Kind, fan_out_1_100) -> throughput(Kind, 1, ?FAN_OUT);
run(Kind, ask) -> ask_workload(Kind);
run(Kind, ring) -> ring(Kind);
run(otp, spawn_first_answer) -> spawn_first_answer();
run(otp, restart_after_panic) -> restart_after_panic();
run(otp, control_under_backlog) -> control_under_backlog().

throughput(Kind, Senders, Receivers) ->
    {Stage, Workers} = stage(Kind, Receivers),
    flow(Kind, Workers, Senders, ?MESSAGES_WARM),
    Ns = flow(Kind, Workers, Senders, ?MESSAGES),
    stop(Stage, Workers),
    [Ns].

flow(Kind, Workers, Senders, Messages) ->
    Goal = Messages div length(Workers),
    [tell(Kind, Worker, {goal, Goal}) || Worker <- Workers],
    Each = Messages div Senders,
    Ring = list_to_tuple(Workers),
    Begin = now_ns(),
    [spawn_link(fun() -> send(Kind, Ring, 0, Each) end) || _ <- lists:seq(1, Senders)],
    {At, Messages, Sum} = reports(length(Workers), Begin, 0, 0),
    Sum = Senders * (Each * (Each - 1) div 2),
    (At - Begin) / Messages.

send(_, _, Each, Each) ->
    ok;
send(Kind, Ring, Value, Each) ->
    tell(Kind, element(Value rem tuple_size(Ring) + 1, Ring), {count, Value}),
    send(Kind, Ring, Value + 1, Each).

reports(0, At, Handled, Sum) ->
    {At, Handled, Sum};
reports(Left, At, Handled, Sum) ->
    receive
        {reached, LastAt, H, S} -> reports(Left - 1, max(At, LastAt), Handled + H, Sum + S)
    after 60000 -> error(stalled)
    end.

ask_workload(Kind) ->
    {Stage, [Worker]} = stage(Kind, 1),
    questions(Kind, Worker, ?ASKS_WARM),
    Ns = questions(Kind, Worker, ?ASKS),
    Timed = apart(fun() -> [timed(fun() -> question(Kind, Worker, V) end) || V <- lists:seq(1, ?ASKS)] end),
    stop(Stage, [Worker]),
    [Ns | percentiles(Timed)].

questions(Kind, Worker, Count) ->
    apart(fun() ->
        Begin = now_ns(),
        [question(Kind, Worker, Value) || Value <- lists:seq(1, Count)],
        (now_ns() - Begin) / Count
    end).

question(Kind, Worker, Value) ->
    Answer = Value + 1,
    Answer = ask(Kind, Worker, Value).

ring(Kind) ->
    {Stage, Workers} = stage(Kind, ?RING),
    Linked = lists:zip(Workers, tl(Workers) ++ [hd(Workers)]),
    [tell(Kind, Worker, {next, Next}) || {Worker, Next} <- Linked],
    laps(Kind, Workers, ?HOPS_WARM, ?HOPS_WARM, untimed),
    Ns = laps(Kind, Workers, ?HOPS, ?HOPS + ?HOPS_WARM, untimed),
    Hops = ets:new(hops, [public, {write_concurrency, true}]),
    laps(Kind, Workers, ?HOPS, 2 * ?HOPS + ?HOPS_WARM, Hops),
    Timed = [Took || {_, Took} <- ets:tab2list(Hops)],
    ets:delete(Hops),
    stop(Stage, Workers),
    [Ns | percentiles(Timed)].

laps(Kind, Workers, Hops, Total, Times) ->
    Begin = now_ns(),
    tell(Kind, hd(Workers), {token, Kind, Hops - 1, Times, Begin}),
    {At, Handled, _} = reports(1, Begin, 0, 0),
    Handled = Total div ?RING,
    (At - Begin) / Hops.

spawn_first_answer() ->
    {Supervisor, []} = stage(otp, 0),
    Owner = self(),
    Ns = apart(fun() ->
        Begin = now_ns(),
        [question(otp, child(Supervisor, Owner), Value) || Value <- lists:seq(1, ?SPAWNS)],
        (now_ns() - Begin) / ?SPAWNS
    end),
    stop(Supervisor, []),
    [Ns].

restart_after_panic() ->
    Owner = self(),
    Child = #{id => worker, start => {?MODULE, start_link, [{fresh, Owner}]}},
    Flags = #{strategy => one_for_one, intensity => 1000000, period => 1},
    {ok, Supervisor} = supervisor:start_link(?MODULE, {Flags, [Child]}),
    First = fresh(),
    {Next, _} = crashes(First, ?RESTARTS div 10, 0),
    {_, Took} = crashes(Next, ?RESTARTS, 0),
    stop(Supervisor, []),
    [Took / ?RESTARTS / 1000].

crashes(Worker, 0, Took) ->
    {Worker, Took};
crashes(Worker, Left, Took) ->
    gen_server:cast(Worker, crash),
    At = receive {crashed, Then} -> Then end,
    Fresh = fresh(),
    question(otp, Fresh, Left),
    crashes(Fresh, Left - 1, Took + now_ns() - At).

fresh() ->
    receive {fresh, Pid} -> Pid after 60000 -> error(stalled) end.

control_under_backlog() ->
    Large = kill(?BACKLOG),
    Small = [kill(?KILLS_BACKLOG) || _ <- lists:seq(1, ?KILLS)],
    [Ns / 1000 || Ns <- [Large | percentiles(Small)]].

kill(Backlog) ->
    {Supervisor, []} = stage(otp, 0),
    Gate = atomics:new(1, []),
    Worker = child(Supervisor, self()),
    gen_server:cast(Worker, {block, Gate}),
    reports(1, now_ns(), 0, 0),
    apart(fun() -> send(otp, {Worker}, 0, Backlog) end),
    Monitor = monitor(process, Worker),
    atomics:put(Gate, 1, 1),
    Begin = now_ns(),
    exit(Worker, kill),
    receive {'DOWN', Monitor, process, Worker, killed} -> ok end,
    Took = now_ns() - Begin,
    stop(Supervisor, []),
    Took.

idle(Count) ->
    {Supervisor, _} = stage(otp, 100),
    {Heap, Resident} = memory(),
    Workers = [child(Supervisor, self()) || _ <- lists:seq(1, Count)],
    {HeapStarted, ResidentStarted} = memory(),
    [question(otp, Worker, 1) || Worker <- Workers],
    {HeapAnswered, _} = memory(),
    Each = [(HeapStarted - Heap) / Count, (ResidentStarted - Resident) / Count, (HeapAnswered - Heap) / Count],
    io:format("~.3f ~.3f ~.3f~n", Each),
    halt(0).

memory() ->
    timer:sleep(100),
    {ok, Text} = file:read_file("/proc/self/smaps_rollup"),
    {match, [KiB]} = re:run(Text, "Rss:\\s+([0-9]+) kB", [{capture, all_but_first, list}]),
    {erlang:memory(total), list_to_integer(KiB) * 1024}.

%% A supervisor and children of it, or plain processes. Restarts as often as it takes.
stage(otp, Count) ->
    Child = #{id => worker, start => {?MODULE, start_link, []}, restart => temporary},
    Flags = #{strategy => simple_one_for_one, intensity => 1000000, period => 1},
    {ok, Supervisor} = supervisor:start_link(?MODULE, {Flags, [Child]}),
    {Supervisor, [child(Supervisor, self()) || _ <- lists:seq(1, Count)]};
stage(plain, Count) ->
    Worker = #worker{owner = self()},
    Options = [link, {message_queue_data, off_heap}],
    {none, [spawn_opt(?MODULE, loop, [Worker], Options) || _ <- lists:seq(1, Count)]}.

child(Supervisor, Owner) ->
    {ok, Worker} = supervisor:start_child(Supervisor, [Owner]),
    Worker.

stop(none, Workers) ->
    [exit(Worker, kill) || Worker <- Workers],
    flush();
stop(Supervisor, _) ->
    Monitor = monitor(process, Supervisor),
    exit(Supervisor, shutdown),
    receive {'DOWN', Monitor, process, Supervisor, _} -> flush() end.

flush() ->
    receive {'EXIT', _, _} -> flush() after 0 -> erlang:garbage_collect(), ok end.

tell(otp, Worker, Message) -> gen_server:cast(Worker, Message);
tell(plain, Worker, Message) -> Worker ! Message.

ask(otp, Worker, Value) ->
    gen_server:call(Worker, {ask, Value}, ?TIMEOUT);
ask(plain, Worker, Value) ->
    Reference = make_ref(),
    Worker ! {ask, self(), Reference, Value},
    receive {Reference, Answer} -> Answer after ?TIMEOUT -> error(timeout) end.

start_link(Argument) ->
    gen_server:start_link(?MODULE, Argument, []).

init({#{} = Flags, Children}) ->
    {ok, {Flags, Children}};
init({fresh, Owner}) ->
    Owner ! {fresh, self()},
    {ok, #worker{owner = Owner}};
init(Owner) ->
    {ok, #worker{owner = Owner}}.

handle_call({ask, Value}, _From, Worker) ->
    {reply, Value + 1, Worker#worker{handled = Worker#worker.handled + 1}}.

handle_cast(Message, Worker) ->
    {noreply, work(Message, Worker)}.

handle_info(_, Worker) ->
    {noreply, Worker}.

loop(Worker) ->
    receive
        {ask, From, Reference, Value} ->
            From ! {Reference, Value + 1},
            loop(Worker#worker{handled = Worker#worker.handled + 1});
        Message ->
            loop(work(Message, Worker))
    end.

work({count, Value}, #worker{goal = Goal, handled = Handled, sum = Sum} = Worker) when Handled + 1 =:= Goal ->
    Worker#worker.owner ! {reached, now_ns(), Goal, Sum + Value},
    Worker#worker{handled = 0, sum = 0};
work({count, Value}, #worker{handled = Handled, sum = Sum} = Worker) ->
    Worker#worker{handled = Handled + 1, sum = Sum + Value};
work({goal, Goal}, Worker) ->
    Worker#worker{goal = Goal};
work({next, Next}, Worker) ->
    Worker#worker{next = Next};
work({token, Kind, Left, Times, Sent}, #worker{handled = Handled} = Worker) ->
    Sending = hop(Times, Left, Sent),
    case Left of
        0 -> Worker#worker.owner ! {reached, now_ns(), Handled + 1, 0};
        _ -> tell(Kind, Worker#worker.next, {token, Kind, Left - 1, Times, Sending})
    end,
    Worker#worker{handled = Handled + 1};
work(crash, Worker) ->
    Worker#worker.owner ! {crashed, now_ns()},
    error(crash);
work({block, Gate}, Worker) ->
    Worker#worker.owner ! {reached, now_ns(), 1, 0},
    block(Gate),
    Worker.

hop(untimed, _, Sent) ->
    Sent;
hop(Times, Left, Sent) ->
    Now = now_ns(),
    ets:insert(Times, {Left, Now - Sent}),
    Now.

%% Does not look at the messages that wait.
block(Gate) ->
    case atomics:get(Gate, 1) of
        1 -> ok;
        0 -> receive after 1 -> block(Gate) end
    end.

%% In a process of its own, as a sender or an asker is.
apart(Work) ->
    Owner = self(),
    Reference = make_ref(),
    spawn_link(fun() -> Owner ! {Reference, Work()} end),
    receive {Reference, Result} -> Result end.

timed(Work) ->
    Begin = now_ns(),
    Work(),
    now_ns() - Begin.

percentiles(Samples) ->
    Sorted = list_to_tuple(lists:sort(Samples)),
    [element(max(1, ceil(tuple_size(Sorted) * Part)), Sorted) || Part <- [0.5, 0.99, 0.999]].

now_ns() ->
    erlang:monotonic_time(nanosecond).

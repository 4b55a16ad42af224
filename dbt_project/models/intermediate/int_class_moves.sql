{{ config(materialized='table') }}
-- Why a class moved: of movers alone it is computed again under the steps between the two builds, by the macros of the class
-- models. The cause is the step after which the class stays.
{%- set steps = rescoring_steps() %}
with today as (
    select * from {{ ref('int_run_policy') }}
),

bounds as (
    select * from {{ ref('class_bounds') }}
),

before as (
    select bounds.*
    from bounds
    where bounds.as_of_date = (select max(earlier.as_of_date) from {{ source('history', 'class_bounds') }} as earlier)
),

moves as (
    select * from {{ ref('int_class_changes') }}
),

policy as (
    select * from {{ ref('int_rescoring_steps') }}
),

moved as (
    select distinct customer_key
    from moves
    where from_class is not null and to_class is not null
        and (scheme in ('{{ rescored_schemes() | join("', '") }}') or scheme like 'custom:%')
),

own_days as (
    select days.* from {{ ref('int_customer_days') }} as days
    semi join moved using (customer_key)
),

days as (
    select
        policy.step,
        own_days.customer_key,
        own_days.day,
        own_days.orders_n,
        own_days.net_revenue,
        own_days.profit,
        own_days.is_profit_unknown,
        own_days.profit_is_estimated,
        own_days.is_profit_category_based,
        own_days.is_purchase_day,
        own_days.gap_days,
        lead(own_days.day) over (
            partition by policy.step, own_days.customer_key, own_days.is_purchase_day order by own_days.day
        ) is null as is_last
    from own_days
    inner join policy on own_days.day < policy.bought_before
),

returned as (
    select policy.step, own_returns.*
    from {{ ref('int_customer_returns') }} as own_returns
    inner join policy on own_returns.day < policy.returned_before
    semi join moved using (customer_key)
),

{{ customer_sums('days', 'returned', step='step') }},

facts as (
    select
        moved.customer_key,
        policy.step,
        coalesce(bought.quarters_365, 0) as quarters_365,
        {{ profit_ever() }} as profit_ever,
        {{ customer_facts_columns() }}
    from moved
    cross join policy
    left join bought on moved.customer_key = bought.customer_key and policy.step = bought.step
    left join brought_back on moved.customer_key = brought_back.customer_key and policy.step = brought_back.step
),

cut_points as (
    {%- for measure in ['recency', 'frequency', 'monetary'] %}
    select
        step, '{{ measure }}' as measure, cast(null as varchar) as scoring_mode
        {%- for k in range(1, 5) %}, {{ measure }}_cut_{{ k }} as cut_{{ k }}{% endfor %}
    from policy
    {{ 'union all' if not loop.last }}
    {%- endfor %}
),

cells as (
    {{ rfm_cells(ref('rfm_grids'), "'rf25'") }}
),

scored as (
    {{ rfm_scores('facts', 'cut_points', step='step') }}
),

common as (
    select step, common_gap_days as gap_days from policy
),

{{ lifecycle_stages('facts', step='step') }},

ranked as (
    select
        facts.customer_key,
        facts.step,
        {{ abc_class('facts.frequency_abc', 'facts.profit_abc', 'policy.abc_cut_a', 'policy.abc_cut_b') }} as class
    from facts
    inner join policy using (step)
),

tiered as (
    select
        scored.customer_key,
        scored.step,
        {{ frequency_tier('case when scored.is_buyer then scored.frequency_score end', 'scored.frequency_rfm') }}
            as frequency_class,
        {{ score_tier('case when scored.is_buyer then scored.monetary_score end') }} as spend_tier
    from scored
    inner join policy using (step)
),

-- The last recommendation by then, of two at one instant the worse, as int_customer_attitudes takes it.
recommended as (
    select
        policy.step,
        answers.customer_key,
        answers.score <= policy.nps_detractor_max as is_detractor,
        row_number() over (
            partition by policy.step, answers.customer_key
            order by answers.answered_at desc nulls last, answers.answered_date desc, answers.score
        ) as place
    from {{ ref('fct_survey_responses') }} as answers
    inner join policy on answers.answered_date < policy.answered_before
        and answers.answered_date >= {{ date_minus('policy.as_of_date', 'policy.attitude_valid_days') }}
    semi join moved on answers.customer_key = moved.customer_key
    where answers.is_latest and answers.question_type = 'nps'
),

measured as (
    select staged.*, coalesce(recommended.is_detractor, false) as is_detractor
    from staged
    left join recommended
        on staged.customer_key = recommended.customer_key and staged.step = recommended.step and recommended.place = 1
),

judged as (
    select measured.*, {{ repeat_reason('measured') }} as repeat_reason
    from measured
    inner join policy using (step)
),

-- Who has not bought yet has what events and answers tell, which is not scored again.
strangers as (
    select customer_key, from_class from moves
    where scheme = 'need' and from_class in ('potential', 'unclassified')
),

needed as (
    select
        scored.customer_key,
        scored.step,
        case
            when scored.is_buyer
                then {{ need_of_high_scores(high_scores_n('scored.frequency_score', 'scored.monetary_score')) }}
            when scored.purchase_days_n > 0 then 'lapsed'
            else strangers.from_class
        end as class
    from scored
    inner join policy using (step)
    semi join (
        select customer_key from moves
        where scheme = 'need' and to_class in ('core', 'regular', 'basic', 'lapsed')
    ) as buyers on scored.customer_key = buyers.customer_key
    left join strangers on scored.customer_key = strangers.customer_key
),

families as (
    select
        scored.customer_key,
        scored.step,
        case
            when ranked.class = 'A'
                or scored.is_buyer and scored.frequency_rfm >= policy.rfm_high_frequency_min_days
                and least(scored.recency_score, scored.frequency_score, scored.monetary_score) >= policy.rfm_high_score_min
                then 'high_value_family'
            else 'family'
        end as class
    from scored
    inner join policy using (step)
    inner join ranked on scored.customer_key = ranked.customer_key and scored.step = ranked.step
    semi join (
        select customer_key from moves
        where scheme = 'household' and from_class in ('family', 'high_value_family')
            and to_class in ('family', 'high_value_family')
    ) as stayed on scored.customer_key = stayed.customer_key
),

channel_movers as (
    select customer_key from moves
    where scheme = 'channel' and from_class is not null and to_class is not null
),

-- Their orders by day first: what lies between two builds is asked of few rows then.
channel_days as (
    select
        orders.customer_key,
        orders.paid_date,
        count(*) as orders_n,
        count(*) filter (where channels.mode = 'online' and not channels.is_direct_sales) as online_n,
        count(*) filter (where channels.mode = 'offline' or channels.is_direct_sales) as offline_n
    from {{ ref('fct_orders') }} as orders
    semi join channel_movers on orders.customer_key = channel_movers.customer_key
    left join {{ ref('dim_channels') }} as channels using (channel_id)
    where orders.is_valid and orders.makes_purchase_day
    group by orders.customer_key, orders.paid_date
),

sides as (
    select
        policy.step,
        channel_days.customer_key,
        sum(channel_days.orders_n) as orders_n,
        sum(channel_days.online_n) as online_n,
        sum(channel_days.offline_n) as offline_n
    from channel_days
    inner join policy on channel_days.paid_date < policy.bought_before
        and channel_days.paid_date >= policy.behaviour_window_start
    group by policy.step, channel_days.customer_key
),

sided as (
    select
        channel_movers.customer_key,
        policy.step,
        {{ channel_class('coalesce(sides.orders_n, 0)', 'coalesce(sides.online_n, 0)', 'coalesce(sides.offline_n, 0)') }}
            as class
    from channel_movers
    cross join policy
    left join sides on channel_movers.customer_key = sides.customer_key and policy.step = sides.step
),

priced as (
    select goods.*, facts.purchase_days_n, facts.f365
    from {{ ref('int_rescored_goods') }} as goods
    inner join facts using (customer_key, step)
),

price_judged as (
    select priced.customer_key, priced.step, {{ price_reason('priced') }} as reason
    from priced
    inner join policy using (step)
),

clv_movers as (
    select customer_key from moves
    where scheme = 'clv' and from_class is not null and to_class is not null
),

histories as (
    select staged.*, {{ recency_bucket('staged.recency_days', 'policy') }} as recency_bucket, policy.is_clv_of_today
    from staged
    inner join policy using (step)
    semi join clv_movers on staged.customer_key = clv_movers.customer_key
),

expected as (
    select
        histories.*,
        coalesce(rates.is_bound_hidden, false) as is_bound_hidden,
        {{ expected_orders('histories.expected_gap', 'rates.bound') }} as expected_orders,
        {{ money_share('histories.profit_ever', '1', 'histories.purchase_days_n') }} as profit_per_order
    from histories
    inner join policy using (step)
    left join (select * from {{ ref('int_rescoring_bounds') }} where scheme = 'clv') as rates
        on {{ key_where('histories.purchase_days_n > 0',
                        return_rate_group('histories.stage', 'histories.recency_bucket')) }} = rates.group_name
        and histories.step = rates.step
),

-- A forecast is what all share, as cut points are: it is drawn again for everybody on one day.
foretold as (
    select true as is_of_today, customer_key, value from {{ ref('int_customer_forecasts') }}
    union all
    select false as is_of_today, customer_key, value from ({{ forecasts_known('before') }}) as earlier
),

worth as (
    select
        expected.customer_key,
        expected.step,
        coalesce(
            foretold.value,
            {{ formula_clv('expected.purchase_days_n', 'expected.profit_ever', 'expected.expected_orders',
                           'expected.profit_per_order') }}
        ) as clv
    from expected
    inner join policy using (step)
    left join foretold
        on {{ key_where('expected.purchase_days_n > 0 and expected.profit_ever is not null', 'expected.customer_key') }}
            = foretold.customer_key
        and expected.is_clv_of_today = foretold.is_of_today
),

valued as (
    select worth.customer_key, worth.step, {{ clv_tier('worth.clv', 'policy.clv_cut_high', 'policy.clv_cut_mid') }} as class
    from worth
    inner join policy using (step)
),

rescored as (
    select scored.customer_key, scored.step, 'rfm' as scheme, {{ rfm_segment('scored', 'cells') }} as class
    from scored
    left join cells on {{ rfm_in_cell('scored', 'cells') }}
    union all
    select customer_key, step, 'abc' as scheme, class from ranked
    union all
    select customer_key, step, 'value' as scheme, {{ value_tier('class') }} as class from ranked
    union all
    select customer_key, step, 'lifecycle' as scheme, stage as class from staged
    union all
    select customer_key, step, 'frequency' as scheme, frequency_class as class from tiered
    union all
    select customer_key, step, 'power' as scheme, spend_tier as class from tiered
    union all
    select customer_key, step, 'loyalty' as scheme, {{ loyalty_class('judged') }} as class from judged
    union all
    select customer_key, step, 'behaviour' as scheme, {{ behaviour_class('judged') }} as class from judged
    union all
    select customer_key, step, 'need' as scheme, class from needed
    union all
    select customer_key, step, 'household' as scheme, class from families
    union all
    select customer_key, step, 'channel' as scheme, class from sided
    union all
    select customer_key, step, 'affinity' as scheme, affinity_class as class from {{ ref('int_rescored_goods') }}
    union all
    select customer_key, step, 'price_sensitivity' as scheme, {{ price_sensitivity_class('reason') }} as class
    from price_judged
    union all
    select customer_key, step, 'clv' as scheme, class from valued
),

relinked as (
    select customer_key from {{ ref('dim_identity_links') }} as links
    inner join before on links.valid_to > before.as_of_date
    union
    select merged_into from {{ ref('dim_identity_links') }} as links
    inner join before on links.valid_to > before.as_of_date
    where merged_into is not null
    union
    select customer_key from {{ ref('dim_identity_links') }} as links
    inner join before on links.valid_from > before.as_of_date
    where split_from is not null
),

active as ({{ customers_active_since('before') }}),

-- Who looked for something or put it into a cart since, or whose profile was delivered anew.
acted as (
    select signals.customer_key
    from {{ ref('int_customer_signals') }} as signals
    inner join before
        on greatest(signals.need_cart_date, signals.need_lead_date, signals.need_view_date, signals.checkout_date,
            signals.open_cart_date, signals.open_view_date) >= before.as_of_date
),

stated as (
    select distinct links.customer_key
    from {{ ref('stg_customers__customers') }} as records
    inner join before on records.dt >= before.as_of_date
    inner join {{ ref('int_customer_links') }} as links
        on records.source = links.source and records.source_customer_id = links.source_customer_id and links.is_current
    where records.is_in_force
),

-- Compared at the first step with a bound of few people, of which the release before kept none: today's stands for it.
beside_few as (
    select customer_key, 'affinity' as scheme from {{ ref('int_rescored_goods') }}
    where step = 1 and is_affinity_beside_few
    union all
    select customer_key, 'price_sensitivity' as scheme from {{ ref('int_rescored_goods') }}
    where step = 1 and is_price_beside_few
    union all
    select customer_key, 'clv' as scheme from expected
    where step = 1 and is_bound_hidden
),

told as (
    select
        moves.customer_key,
        moves.scheme,
        moves.from_class,
        case
            when relinked.customer_key is not null then 'merge_split'
            when active.has_bought then 'own_order'
            when active.has_returned then 'refund_or_correction'
            when active.has_answered then 'own_answer'
            when active.has_complained then 'complaint'
            when before.rules <> bounds.rules or before.policy_version <> bounds.policy_version then 'policy_change'
            when stated.customer_key is not null then 'profile_update'
            when acted.customer_key is not null then 'own_activity'
            else 'ageing'
        end as cause
    from moves
    cross join today
    inner join bounds on bounds.as_of_date = today.as_of_date
    inner join before on true
    left join relinked on moves.customer_key = relinked.customer_key
    left join active on moves.customer_key = active.customer_key
    left join acted on moves.customer_key = acted.customer_key
    left join stated on moves.customer_key = stated.customer_key
    where moves.from_class is not null and moves.to_class is not null
),

custom_movers as (
    select distinct customer_key from moves
    where scheme like 'custom:%' and from_class is not null and to_class is not null
),

asked as (
    select distinct kind, fact from {{ source('run', 'custom_tests') }}
),

own_classes as (
    {%- for scheme in class_columns() %}
    select classes.customer_key, '{{ scheme }}' as scheme, classes.{{ scheme }}_class as class
    from {{ ref('int_customer_classes') }} as classes
    semi join custom_movers on classes.customer_key = custom_movers.customer_key
    {{ 'union all' if not loop.last }}
    {%- endfor %}
),

custom_facts as (
    select facts.* from facts
    semi join custom_movers on facts.customer_key = custom_movers.customer_key
),

-- Of a profile only the age goes by the day; what else it says is as known today.
own_records as (
    select
        links.customer_key,
        records.*,
        row_number() over (
            partition by records.source, records.source_customer_id
            order by records.updated_at desc nulls last, records.dt desc, records.rev desc, records.delivery_row desc,
                records.delivery desc
        ) as nth
    from {{ ref('stg_customers__customers') }} as records
    inner join {{ ref('int_customer_links') }} as links
        on records.source = links.source and records.source_customer_id = links.source_customer_id and links.is_current
    semi join custom_movers on links.customer_key = custom_movers.customer_key
    where records.is_in_force
),

births as (
    select
        *,
        row_number() over (
            partition by customer_key order by updated_at desc nulls last, dt desc, source, source_customer_id
        ) as place
    from own_records
    where nth = 1 and birth_year is not null
),

profiles as (
    select
        customers.customer_key,
        policy.step,
        {{ age_on('births', 'policy.as_of_date') }} as age,
        customers.household_size, customers.gender, customers.occupation, customers.income_band, customers.education,
        customers.province, customers.city, customers.language
    from {{ ref('dim_customers') }} as customers
    semi join custom_movers on customers.customer_key = custom_movers.customer_key
    cross join policy
    left join births on customers.customer_key = births.customer_key and births.place = 1
),

-- What a rule asks for, as it stood at each step: a class that is scored again as it was scored, any other from the step on
-- at which what is told of its move took effect.
stands as (
    select
        own_classes.customer_key,
        policy.step,
        'class' as kind,
        own_classes.scheme as fact,
        case
            when told.customer_key is null then own_classes.class
            when rescored.customer_key is not null then rescored.class
            when policy.step >= {{ step_of_told('told.cause') }} then own_classes.class
            else told.from_class
        end as text_value,
        cast(null as decimal(18, 4)) as number_value
    from own_classes
    semi join asked on own_classes.scheme = asked.fact and asked.kind = 'class'
    cross join policy
    left join told on own_classes.customer_key = told.customer_key and own_classes.scheme = told.scheme
    left join rescored
        on own_classes.customer_key = rescored.customer_key and own_classes.scheme = rescored.scheme
        and policy.step = rescored.step
    {%- for fact, (kind, value) in rule_facts().items() %}
    union all
    select
        facts.customer_key, facts.step, '{{ kind }}' as kind, '{{ fact }}' as fact,
        {% if kind == 'text' -%} {{ value }} as text_value, cast(null as decimal(18, 4)) as number_value
        {%- else -%} cast(null as varchar) as text_value, cast({{ value }} as decimal(18, 4)) as number_value
        {%- endif %}
    from custom_facts as facts
    inner join profiles as customers using (customer_key, step)
    where exists (select 1 from asked where asked.fact = '{{ fact }}')
    {%- endfor %}
),

{{ custom_members('stands', 'custom_facts', step='step') }},

scored_again as (
    select customer_key, step, scheme, class from rescored
    union all
    select customer_key, step, 'custom:' || segment as scheme, class from members
),

by_step as (
    select
        customer_key,
        scheme
        {%- for step in steps %},
        max(case when step = {{ loop.index }} then class end) as class_{{ loop.index }}
        {%- endfor %}
    from scored_again
    group by customer_key, scheme
),

caused as (
    select
        moves.*,
        by_step.customer_key is not null as is_rescored,
        case
            when moves.from_class is null and relinked.customer_key is not null then 'merge_split'
            when moves.from_class is null then 'entered'
            when moves.to_class is null and relinked.customer_key is not null then 'merge_split'
            when moves.to_class is null then 'left'
            when by_step.customer_key is null then told.cause
            when by_step.class_{{ steps | length }} is distinct from moves.to_class then 'unexplained'
            {%- for step in steps[1:] | reverse %}
            when by_step.class_{{ steps | length - loop.index }} is distinct from moves.to_class then
                {% if step.answered and not steps[steps | length - loop.index - 1].answered -%}
                case
                    when active.has_answered or moves.scheme not like 'custom:%' then '{{ step.cause }}'
                    when active.has_complained then 'complaint'
                    else 'own_activity'
                end
                {%- else -%} '{{ step.cause }}'
                {%- endif %}
            {%- endfor %}
            when relinked.customer_key is not null then 'merge_split'
            when before.rules <> bounds.rules then 'policy_change'
            when moves.scheme like 'custom:%' and stated.customer_key is not null then 'profile_update'
            when beside_few.customer_key is not null then 'cut_points'
            else '{{ steps[0].cause }}'
        end as cause,
        concat_ws(
            ','
            {%- for step in steps %},
            case
                when {{ 'by_step.class_' ~ (loop.index - 1) if not loop.first else 'moves.from_class' }}
                    is distinct from by_step.class_{{ loop.index }} then {{ "case when beside_few.customer_key is null then '" ~ step.factor ~ "' else 'cut_points' end" if loop.first else "'" ~ step.factor ~ "'" }}
            end
            {%- endfor %}
        ) as factors,
        active.customer_key is not null as is_active
    from moves
    cross join today
    inner join bounds on bounds.as_of_date = today.as_of_date
    left join before on true
    left join by_step on moves.scheme = by_step.scheme
        and {{ key_where('moves.from_class is not null and moves.to_class is not null', 'moves.customer_key') }}
            = by_step.customer_key
    left join relinked on moves.customer_key = relinked.customer_key
    left join active on moves.customer_key = active.customer_key
    left join stated on moves.customer_key = stated.customer_key
    left join told on moves.customer_key = told.customer_key and moves.scheme = told.scheme
    left join beside_few on moves.customer_key = beside_few.customer_key and moves.scheme = beside_few.scheme
)

select
    customer_key,
    scheme,
    from_class,
    to_class,
    cause,
    case when is_rescored then factors end as factors,
    is_rescored,
    -- P-16: what people do is followed at once; what time and others do has to last.
    to_class is not null
        and (cause not in ('ageing', 'cut_points') or is_active or to_class = published_class) as is_published_at_once,
    published_class,
    published_since
from caused

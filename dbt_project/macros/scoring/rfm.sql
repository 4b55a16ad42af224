{#
  RFM scoring (M-01, M-02b), written once: the models of `segments` call these macros, and `strata score` renders the same
  text for any order file. The parameters of a rule are those of the seed rfm_presets; the defaults are rf25, the rule of
  the models.
#}

{#
  The cut points in force, one row per measure. After CTEs `policy` (one row: as_of_date, refresh_date, policy_version,
  rfm_min_buyers, the absolute cut-offs) and `buyers` (basis refresh or as_of, recency in minus days, frequency, monetary).

  Frozen at the refresh date where enough buyers were known then; as of D while too few were; absolute while there are too
  few at all. Interpolation leaves noise in the last bit (3.9999999999999996), and a tie on the cut point would resolve
  upward: a fifth between two amounts has five decimals, so eight are exact. A mean is an exact sum over a count, because
  a sum of doubles depends on the order of rows.

  cut_offset: added to every cut point (R's half-open bins add 1). repeated_cuts `dropped`: a cut point that repeats
  another, the smallest or the largest value does not count (pandas.qcut). absolute_cuts: which of the four absolute
  cut-offs stand for the cut points where scores are fewer than 5.
#}
{% macro rfm_cut_points(scores=5, cut_rule='quantile', cut_offset=0, repeated_cuts='kept', absolute_cuts=[1, 2, 3, 4]) %}
populations as (
    select
        count(*) filter (where basis = 'refresh') as refresh_n,
        count(*) filter (where basis = 'as_of') as as_of_n
    from buyers
),

choice as (
    select
        case
            when refresh_n >= policy.rfm_min_buyers then 'refresh'
            when as_of_n >= policy.rfm_min_buyers then 'as_of'
            else 'absolute'
        end as basis,
        case when refresh_n >= policy.rfm_min_buyers then refresh_n else as_of_n end as buyers_n
    from populations
    cross join policy
),

drawn as (
    {%- for measure in ['recency', 'frequency', 'monetary'] %}
    {%- set offset = (-cut_offset if measure == 'recency' else cut_offset) %}
    select
        '{{ measure }}' as measure,
        {%- if repeated_cuts == 'dropped' %}
        cast(min({{ measure }}) as double) as smallest,
        cast(max({{ measure }}) as double) as largest,
        {%- endif %}
        {%- for k in range(1, 5) %}
        {%- if k >= scores %}
        cast(null as double)
        {%- elif cut_rule == 'mean' %}
        round(cast(sum({{ measure }}) as double) / count(*), 8)
        {%- else %}
        round({{ quantile(measure, 'cast(' ~ (k / scores) ~ ' as double)') }}, 8){{ ' + ' ~ offset if offset }}
        {%- endif %} as cut_{{ k }}{{ ',' if not loop.last }}
        {%- endfor %}
    from buyers
    inner join choice using (basis)
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
),

quantiles as (
    select
        measure,
        {%- for k in range(1, 5) %}
        {%- if repeated_cuts == 'dropped' %}
        case
            when cut_{{ k }} > smallest and cut_{{ k }} < largest
                {%- if k > 1 %} and cut_{{ k }} > cut_{{ k - 1 }}{% endif %} then cut_{{ k }}
        end as cut_{{ k }}
        {%- else %}
        cut_{{ k }}
        {%- endif %}{{ ',' if not loop.last }}
        {%- endfor %}
    from drawn
),

absolutes as (
    {%- for measure in ['recency', 'frequency', 'monetary'] %}
    select
        '{{ measure }}' as measure,
        {%- for k in range(1, 5) %}
        {% if k > absolute_cuts | length -%} cast(null as double)
        {%- else -%} {{ '-' if measure == 'recency' }}rfm_absolute_{{ measure }}_{{ absolute_cuts[k - 1] }}
        {%- endif %} as cut_{{ k }}{{ ',' if not loop.last }}
        {%- endfor %}
    from policy
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
)

select
    quantiles.measure,
    case when choice.basis = 'refresh' then policy.refresh_date else policy.as_of_date end as effective_from,
    policy.as_of_date,
    case when choice.basis = 'absolute' then 'absolute' else 'quantile' end as scoring_mode,
    choice.basis = 'refresh' as is_frozen,
    choice.buyers_n,
    {%- for k in range(1, 5) %}
    cast(case when choice.basis = 'absolute' then absolutes.cut_{{ k }} else quantiles.cut_{{ k }} end as double)
        as cut_{{ k }},
    {%- endfor %}
    policy.policy_version
from quantiles
inner join absolutes using (measure)
cross join choice
cross join policy
{% endmacro %}

{#
  Customers with their three scores. `facts` has recency_days, frequency_rfm, monetary_rfm and purchase_days_n;
  `cut_points` is what rfm_cut_points gives. Scores come from cut points, never from the order of rows, so equal values
  score alike. Money of 0 or less scores 1 whatever the cut points. `step`: a column by which both have several versions.
#}
{% macro rfm_scores(facts, cut_points, recency_at_cut='lower', amount_at_cut='lower', step=none) %}
    select
        facts.*,
        recency.scoring_mode,
        facts.frequency_rfm > 0 as is_buyer,
        {{ score('-facts.recency_days', 'recency', recency_at_cut) }} as recency_score,
        {{ score('facts.frequency_rfm', 'frequency', amount_at_cut) }} as frequency_score,
        case
            when facts.monetary_rfm <= 0 then 1
            else {{ score('cast(facts.monetary_rfm as double)', 'monetary', amount_at_cut) }}
        end as monetary_score
    from {{ facts }} as facts
    inner join {{ cut_points }} as recency on recency.measure = 'recency'
        {%- if step %} and recency.{{ step }} = facts.{{ step }}{% endif %}
    inner join {{ cut_points }} as frequency on frequency.measure = 'frequency'
        {%- if step %} and frequency.{{ step }} = facts.{{ step }}{% endif %}
    inner join {{ cut_points }} as monetary on monetary.measure = 'monetary'
        {%- if step %} and monetary.{{ step }} = facts.{{ step }}{% endif %}
{% endmacro %}

{#
  The grid of a preset, cell by cell: of the boxes that a cell lies in the one that comes first gives its segment, and
  `others` (SQL text) stands where there is none. Joined by equality, which costs nothing per customer.
#}
{% macro rfm_cells(grid, preset, scores=5, others='null') %}
    select
        r.score as r_score,
        f.score as f_score,
        m.score as m_score,
        coalesce(min_by(grid.rfm_segment, grid.priority), {{ others }}) as rfm_segment
    from ({{ rfm_score_values(scores) }}) as r
    cross join ({{ rfm_score_values(scores) }}) as f
    cross join ({{ rfm_score_values(scores) }}) as m
    left join {{ grid }} as grid
        on grid.preset = {{ preset }}
        and r.score between grid.r_from and grid.r_to
        and f.score between grid.f_from and grid.f_to
        and m.score between grid.m_from and grid.m_to
    group by r.score, f.score, m.score
{% endmacro %}

{% macro rfm_score_values(scores=5) -%}
    {%- for k in range(1, scores + 1) %}select {{ k }} as score{{ ' union all ' if not loop.last }}{% endfor %}
{%- endmacro %}

{# The condition on which a scored customer meets its cell. #}
{% macro rfm_in_cell(scored, cells) -%}
    {{ key_where(scored ~ '.is_buyer', scored ~ '.recency_score') }} = {{ cells }}.r_score
    and {{ scored }}.frequency_score = {{ cells }}.f_score
    and {{ scored }}.monetary_score = {{ cells }}.m_score
{%- endmacro %}

{# The segment of a scored customer: total, whoever it is. #}
{% macro rfm_segment(scored, cells) -%}
    case
        when {{ scored }}.is_buyer then {{ cells }}.rfm_segment
        when {{ scored }}.purchase_days_n = 0 then 'prospects'
        else 'lapsed'
    end
{%- endmacro %}
